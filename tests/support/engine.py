"""An Engine on a thread of its own; the test plays its clients, auth server and backends by hand.

Everything waits for an event on a socket, so that a test can say what happens in which order.
"""

import contextlib
import os
import re
import resource
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fastmail._speedups import Engine, Server
from support.listener import PATIENCE

TIMEOUT = 2000
"""Milliseconds: a time limit of the engine's that a test lets pass, after what it has to do before that."""

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
ENDED = "session ended: "
NAME = "mail.test:143"
"""The printed address of the engine's listener."""
BYE = b"* BYE closing connection\r\n"
"""What an IMAP client gets after a refusal that ends its session."""
INTERNAL = b"a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error\r\n"
"""What an IMAP client gets whose command, with the tag ``a``, fails through no fault of its own."""


def descriptors() -> set[str]:
    """What this process has open."""
    listed = os.listdir("/proc/self/fd")  # which includes the one that lists
    return {number for number in listed if os.path.lexists(f"/proc/self/fd/{number}")}


@contextlib.contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """This process can open so many more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.dup(0) for _ in range(number + 1)]
    for fd in free:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no descriptor tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


def ready(descriptor: int | socket.socket, seconds: float = 0, event: int = select.POLLIN) -> bool:
    """Whether it can be read, or has ended; with ``POLLOUT``, be written. select() would not bear the many
    descriptors that there may be."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(seconds * 1000))


class Peer:
    """One end of a connection. Reading raises TimeoutError if the other end stays silent too long."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.request = b""
        self._received = b""
        sock.settimeout(PATIENCE)

    def send(self, data: bytes) -> None:
        """All of it. sendall() would take the patience for the whole, however fast the other end reads."""
        left = memoryview(data)
        while left:
            left = left[self.socket.send(left) :]

    def read(self, size: int) -> bytes:
        """Just so many bytes."""
        while len(self._received) < size:
            self._fill()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def until(self, marker: bytes) -> bytes:
        """All up to and including the marker."""
        while marker not in self._received:
            self._fill()
        return self.read(self._received.index(marker) + len(marker))

    def line(self) -> bytes:
        return self.until(b"\r\n")

    def rest(self) -> bytes:
        """All that comes until the other end closes; a reset ends it as well."""
        with contextlib.suppress(EOFError):
            while True:
                self._fill()
        data, self._received = self._received, b""
        return data

    def silent(self) -> bool:
        """Nothing has come so far, not even an end."""
        return not self._received and not ready(self.socket)

    def stuck(self, seconds: float = 0.05) -> bool:
        """What we have sent is not taken any more."""
        return not ready(self.socket, seconds, select.POLLOUT)

    def shut(self) -> None:
        """End our direction; the other end may have gone already."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _fill(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError(f"closed after {self._received!r}")
        self._received += data


class Port:
    """A listening socket: of the engine, or of a peer that it connects to."""

    def __init__(
        self, family: socket.AddressFamily = socket.AF_INET, path: str = "", backlog: int = 128
    ) -> None:
        self.socket = socket.socket(family)
        if not path:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # for refuse()
        self.socket.bind(path or (HOSTS[family], 0))
        self.socket.listen(backlog)
        self.socket.settimeout(PATIENCE)
        name = self.socket.getsockname()
        self.address: tuple[int, Any] = (family, path or name[:2])
        self.headers = ["Auth-Status: OK", f"Auth-Server: unix:{path}" if path else f"Auth-Server: {name[0]}"]
        if not path:
            self.headers.append(f"Auth-Port: {name[1]}")
        self.printed = f"unix:{path}" if path else f"{name[0]}:{name[1]}"

    def accept(self) -> Peer:
        return Peer(self.socket.accept()[0])

    def connect(self) -> Peer:
        sock = socket.socket(self.address[0])
        sock.settimeout(PATIENCE)
        try:
            sock.connect(self.address[1])
        except OSError:
            sock.close()
            raise
        return Peer(sock)

    def refuse(self) -> None:
        """Listen no more. The port stays ours: who connects to a free one may get it for his own end, and
        meet himself."""
        holder = socket.socket(self.address[0])
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(self.address[1])
        self.socket.close()
        self.socket = holder

    def waiting(self) -> bool:
        """Somebody has connected and not been accepted."""
        return ready(self.socket)


class BothFamilies(Port):
    """Listens for IPv6 and IPv4 on one socket; clients come from 127.0.0.1."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET6)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(("::", 0))
        self.socket.listen()
        self.address = (socket.AF_INET, ("127.0.0.1", self.socket.getsockname()[1]))


class Rig:
    """An engine, its listener, an auth server, a backend and a log, all torn down and checked for descriptors
    that stay open.

    ``family`` is that of all three sockets; with AF_UNIX they are in ``directory``. ``listener`` makes one in
    place of the usual. Other options are Server's.
    """

    def __init__(
        self,
        *,
        family: socket.AddressFamily = socket.AF_INET,
        directory: Path | None = None,
        engine: dict[str, Any] | None = None,
        flags: int = 0,
        level: int = 7,
        listener: Callable[[], Port] | None = None,
        **options: Any,
    ) -> None:
        self._before = descriptors()
        self._peers: list[Peer] = []
        self.listener, self.auth, self.backend = (
            Port(family, str(directory / name) if directory else "") for name in ("mail", "auth", "backend")
        )
        if listener is not None:
            self.listener.socket.close()
            self.listener = listener()
        self._log = os.memfd_create("log")
        settings: dict[str, Any] = {
            "protocol": "imap",
            "server_name": b"mail.test",
            "auth_http": self.auth.address,
            "auth_http_host": b"auth.test",
            "auth_http_uri": b"/auth",
            "log": [(self._log, level)],
        }
        self.server = Server(**(settings | options))
        listeners = [(self.listener.socket.fileno(), NAME.encode(), self.server, flags)]
        self.engine = Engine(listeners, **({"log": [(self._log, 7)]} | (engine or {})))
        self.thread = threading.Thread(target=self.engine.run, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.thread.is_alive():
            self.engine.stop()
        self.ended()
        for peer in self._peers:
            peer.close()
        for port in (self.listener, self.auth, self.backend):
            port.socket.close()
        os.close(self._log)
        if error is None:
            assert descriptors() == self._before

    def ended(self) -> None:
        """Wait for run() to return, then give everything back."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.engine.close()

    # the peers

    def keep(self, peer: Peer) -> Peer:
        """Close it when the test is over."""
        self._peers.append(peer)
        return peer

    def connect(self) -> Peer:
        """A client, not greeted yet."""
        return self.keep(self.listener.connect())

    def client(self) -> Peer:
        """A client that has read the greeting."""
        client = self.connect()
        client.line()
        return client

    def asked(self) -> Peer:
        """The engine's next connection to the auth server, its first request read into ``request``."""
        peer = self.keep(self.auth.accept())
        peer.request = peer.until(b"\r\n\r\n")
        return peer

    def accepting(self, *lines: str, head: str = "HTTP/1.0 200 OK") -> bytes:
        """An answer of the auth server that names the backend."""
        return "\r\n".join([head, *self.backend.headers, *lines, "", ""]).encode()

    def connected(self) -> Peer:
        """The engine's next connection to the backend."""
        return self.keep(self.backend.accept())

    def ask(self, said: bytes = b"a LOGIN user pass\r\n") -> tuple[Peer, Peer]:
        """A client that has given its credentials, and the connection that asks about them."""
        client = self.client()
        client.send(said)
        return client, self.asked()

    def backend_login(self, said: bytes = b"a LOGIN user pass\r\n") -> tuple[Peer, Peer]:
        """A client and the backend connection where the engine is about to log it in."""
        client, auth = self.ask(said)
        auth.send(self.accepting())
        return client, self.connected()

    def relay(self) -> tuple[Peer, Peer]:
        """A client and a backend that are connected with each other."""
        client, backend = self.backend_login()
        let_in(client, backend)
        return client, backend

    def fill(self, source: Peer, sink: Peer, data: bytes, rounds: int = 50) -> bytes:
        """Send the data over and over until nobody takes any more and a pipe is full. As long as none is
        lent, read a bit and try again, so many times. Returns what is still to be read."""
        sink.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        lent = self.stat("pipes_lent")
        sent = taken = 0
        for _ in range(rounds):
            while not self._full(source):
                at = sent % len(data)
                sent += source.socket.send(data[at : at + 100_000], socket.MSG_DONTWAIT)
            if self.stat("pipes_lent") > lent and source.stuck(0.4):  # TCP tries again after 0.2 s
                break
            taken += len(sink.read(1 << 20))
        until(self.asleep)
        whole = data * (sent // len(data) + 1)
        return whole[taken:sent]

    def stuff(self, source: Peer, sink: Peer) -> bytes:
        """Send until nobody takes any more, also over TLS. Returns what is to be read."""
        sink.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sent = bytearray()
        source.socket.setblocking(False)
        while True:
            piece = b"%08d" % len(sent) * 1000
            try:
                sent += piece[: source.socket.send(piece)]
            except (BlockingIOError, ssl.SSLWantWriteError):
                if self._full(source):
                    break
        source.socket.setblocking(True)
        return bytes(sent)

    def _full(self, source: Peer) -> bool:
        """The engine takes no more of it, and not because it has not got round to that yet."""
        until(self.asleep)
        return source.stuck()

    def asleep(self) -> bool:
        """The engine's thread waits for events, and there are none: its turn is over."""
        stat = Path(f"/proc/self/task/{self.thread.native_id}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "S" and not ready(self.engine.fileno())

    # what is seen of the engine

    def log(self) -> list[str]:
        """The lines so far, without date, process and connection number, and with known names for ports; not
        those of ends()."""
        return [line for line in self._lines() if ENDED not in line]

    def ends(self) -> list[str]:
        """The lines that say why sessions ended before their relay, where no other line has."""
        return [line.replace(ENDED, "") for line in self._lines() if ENDED in line]

    def _lines(self) -> list[str]:
        size = os.fstat(self._log).st_size
        text = os.pread(self._log, size, 0).decode("latin-1")
        text = text.replace(self.backend.printed, "BACKEND").replace(self.auth.printed, "AUTH")
        lines = re.findall(
            r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#0: (?:\*\d+ )?(.*)$", text, re.MULTILINE
        )
        assert len(lines) == text.count("\n"), text
        return [" ".join(line) for line in lines if "connected to" not in line[1]]

    def logged(self, line: str) -> None:
        """Wait for the line: it is written at the end of the engine's turn, when peers may know already."""
        until(lambda: line in self.log())

    def all_logged(self, *lines: str, since: int = 0) -> None:
        """Wait until these are the lines, but for so many at the beginning."""
        with contextlib.suppress(AssertionError):
            until(lambda: self.log()[since:] == list(lines))
        assert self.log()[since:] == list(lines)

    def stat(self, name: str) -> int:
        return self.engine.stats()[name]

    def quiet(self) -> None:
        """Wait until no session is left."""
        until(lambda: self.stat("sessions") == 0)  # the last thing that is counted when a session ends
        stats = self.engine.stats()
        assert stats["relaying"] == 0
        assert stats["pipes_lent"] == 0
        assert stats["connections"] == 2 + stats["auth_connections"]  # a listener and the orders


class HeldRig(Rig):
    """One that can be held between two turns, so that all that happens meanwhile is one batch of events."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._going, self._waiting = threading.Event(), threading.Event()
        self._going.set()
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while self.engine.turn():
            ready(self.engine.fileno(), 0.001)
            if not self._going.is_set():
                self._waiting.set()
                self._going.wait()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._waiting.clear()
        self._going.clear()
        assert self._waiting.wait(PATIENCE)
        try:
            yield
        finally:
            self._going.set()


def let_in(client: Peer, backend: Peer) -> None:
    """The backend greets, and takes the login ``a LOGIN user pass``."""
    backend.send(b"* OK hi\r\n")
    assert backend.line() == b'a LOGIN "user" "pass"\r\n'
    backend.send(b"a OK in\r\n")
    assert client.line() == b"a OK in\r\n"


def suffix(login: str = "user", upstream: str = "BACKEND") -> str:
    """What a log line ends in."""
    known = f', login: "{login}"' if login else ""
    return f", client: 127.0.0.1, server: {NAME}{known}{f', upstream: {upstream}' if upstream else ''}"
