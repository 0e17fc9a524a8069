"""A recording TCP server: a thread per connection, every received byte kept."""

import contextlib
import enum
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from support.closing import Closing
from support.ports import HOST

PATIENCE = 30.0
"""Seconds after which what should have happened counts as missing."""


class Fault(enum.Enum):
    """What a scripted peer does instead of sending."""

    CLOSE = "close"
    """Close the connection in order (FIN)."""
    RESET = "reset"
    """Close it with a RST."""
    UNHEARD = "unheard"
    """Close it as soon as the peer has said something, with that unread; the kernel sends a RST then."""


CLOSE = Fault.CLOSE
RESET = Fault.RESET
UNHEARD = Fault.UNHEARD


@dataclass(frozen=True)
class Trickle:
    """Bytes sent one by one, with a pause of so many seconds after each."""

    data: bytes
    pause: float = 0.001


Move = bytes | str | float | Fault | Trickle | threading.Event
"""Bytes are sent as they are, a str with CR LF added; a float is a pause in seconds, an Event is awaited."""
Moves = Move | tuple[Move, ...]


class Ended(Exception):
    """The connection is closed, by either side."""


class Connection:
    """One accepted connection; ``received`` holds all that came in so far."""

    def __init__(self, sock: socket.socket) -> None:
        self.received = bytearray()
        self.ended = threading.Event()
        self._socket = sock
        self._taken = 0

    def read_until(self, marker: bytes) -> bytes:
        """The next bytes up to and including ``marker``. Raises Ended at the end of the stream."""
        while (end := self.received.find(marker, self._taken)) < 0:
            self._fill()
        return self._take(end + len(marker))

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises Ended at the end of the stream."""
        while len(self.received) < self._taken + size:
            self._fill()
        return self._take(self._taken + size)

    def drain(self) -> None:
        """Take everything until the peer closes."""
        with contextlib.suppress(Ended):
            while True:
                self._fill()

    def perform(self, moves: Moves) -> None:
        """Send, pause, or break off. Raises Ended after a fault, or when the peer has gone."""
        for move in moves if isinstance(moves, tuple) else (moves,):
            if isinstance(move, Fault):
                if move is UNHEARD:
                    select.select([self._socket], [], [], PATIENCE)
                self.close(reset=move is RESET)
                raise Ended
            if isinstance(move, float):
                time.sleep(move)
                continue
            if isinstance(move, threading.Event):
                move.wait(PATIENCE)
                continue
            if isinstance(move, Trickle):
                for byte in move.data:
                    self._send(bytes([byte]))
                    time.sleep(move.pause)
            else:
                self._send(move.encode("latin-1") + b"\r\n" if isinstance(move, str) else move)

    def close(self, *, reset: bool = False) -> None:
        """Close now; more than once is harmless."""
        if reset:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def abort(self) -> None:
        """End it from another thread: whoever waits in it gets Ended."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Ended from error

    def _take(self, end: int) -> bytes:
        data = bytes(self.received[self._taken : end])
        self._taken = end
        return data

    def _fill(self) -> None:
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise Ended from error
        if not data:
            raise Ended
        self.received += data


class Listener(Closing):
    """Base of the scripted servers; a subclass says in serve() what happens on a connection."""

    def __init__(self, *, path: str | None = None, port: int = 0, backlog: int = 512) -> None:
        """Listen on 127.0.0.1, on a free port unless one is given, or on the unix socket ``path``."""
        self._socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._socket.bind(path or (HOST, port))
        self._socket.listen(backlog)
        self.port: int = 0 if path else self._socket.getsockname()[1]
        self.connections: list[Connection] = []
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def serve(self, connection: Connection) -> None:
        """Talk to one peer until done; the connection is closed afterwards."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop the records of earlier connections."""
        self.connections = []

    def wait_ended(self, timeout: float = PATIENCE) -> bool:
        """Wait for every recorded connection to be over; False if one is not within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        return all(c.ended.wait(max(0.0, deadline - time.monotonic())) for c in list(self.connections))

    def close(self) -> None:
        """Stop listening, cut what is still open, and raise what went wrong in serve()."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE)
        abort_all(self.connections)
        if self._failures:
            raise self._failures[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            connection = Connection(sock)
            self.connections.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: Connection) -> None:
        try:
            self.serve(connection)
        except Ended:
            pass
        except Exception as error:
            self._failures.append(error)
        finally:
            connection.close()
            connection.ended.set()


def abort_all(connections: Iterable[Connection]) -> None:
    """Cut the connections and wait for the threads that serve them."""
    for connection in connections:
        connection.abort()
        connection.ended.wait(PATIENCE)
