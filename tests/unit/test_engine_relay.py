"""The relay over real sockets: every byte, in order, without keeping more than it must."""

import hashlib
import os
import random
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.engine import TIMEOUT, Peer, Rig, suffix, until
from support.listener import PATIENCE

MIB = 1 << 20
BULK = 30 * MIB
TIMED_OUT = f"[info] client timed out (110: Connection timed out) while proxying{suffix()}"
SILENT = b"* OK IMAP4 ready\r\n* BYE timeout, closing connection\r\n"


def payload(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_digest(peer: Peer, size: int) -> str:
    """Read so many bytes without keeping them."""
    seen = hashlib.sha256(peer.read(0))
    while size:
        data = peer.socket.recv(min(size, 65536))
        assert data
        seen.update(data)
        size -= len(data)
    return seen.hexdigest()


class Sender(threading.Thread):
    """Sends in the background; ``failed`` if the other end has gone."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        super().__init__(daemon=True)
        self.failed = False
        self._peer = peer
        self._data = data
        self.start()

    def run(self) -> None:
        try:
            self._peer.send(self._data)
        except OSError:
            self.failed = True

    def done(self) -> bool:
        self.join(PATIENCE)
        return not self.is_alive() and not self.failed


def ends(rig: Rig, up: bool) -> tuple[Peer, Peer]:
    """The sender and the receiver of one direction."""
    client, backend = rig.relay()
    return (client, backend) if up else (backend, client)


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_bulk_with_a_reader_that_waits(up: bool) -> None:
    data = payload(BULK)
    with Rig() as rig:
        source, sink = ends(rig, up)
        held = resident()
        sender = Sender(source, data)
        until(lambda: source.stuck() or not sender.is_alive())  # the kernel may hold it all
        assert resident() - held < 8 * MIB  # back-pressure: the rest is the sender's to keep
        assert read_digest(sink, len(data)) == digest(data)
        assert sender.done()
        until(lambda: rig.stat("pipes_lent") == 0)


def test_bulk_both_ways_at_once() -> None:
    down, up = payload(BULK, 2), payload(BULK, 3)
    with Rig() as rig:
        client, backend = rig.relay()
        senders = [Sender(backend, down), Sender(client, up)]
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.append(read_digest(backend, len(up))))
        reader.start()
        assert read_digest(client, len(down)) == digest(down)
        reader.join(PATIENCE)
        assert seen == [digest(up)]
        assert all(sender.done() for sender in senders)


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET6])
def test_bulk_over_other_sockets(family: socket.AddressFamily, tmp_path: Path) -> None:
    data = payload(8 * MIB, 12)
    with Rig(family=family, directory=tmp_path if family == socket.AF_UNIX else None) as rig:
        client, backend = rig.relay()
        for source, sink in ((client, backend), (backend, client)):
            sender = Sender(source, data)
            assert read_digest(sink, len(data)) == digest(data)
            assert sender.done()


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_pieces_of_all_sizes(up: bool) -> None:
    choose = random.Random(4)
    sizes = [choose.choice((1, 2, 80, 4096, 65535, 65536, 65537, 200_000)) for _ in range(150)]
    data = payload(sum(sizes), 5)
    with Rig() as rig:
        source, sink = ends(rig, up)
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.append(read_digest(sink, len(data))))
        reader.start()
        at = 0
        for size in sizes:
            source.send(data[at : at + size])
            at += size
        reader.join(PATIENCE)
        assert seen == [digest(data)]


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_small_exchanges_between_bulk(up: bool) -> None:
    data = payload(2 * MIB, 6)
    with Rig() as rig:
        source, sink = ends(rig, up)
        for number in range(5):
            sender = Sender(source, data)
            assert read_digest(sink, len(data)) == digest(data)
            assert sender.done()
            line = b"%d NOOP\r\n" % number
            for one, other in ((source, sink), (sink, source)):
                one.send(line)
                assert other.line() == line


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_a_sender_that_closes_loses_nothing(up: bool) -> None:
    """While pipe and sockets are full: what was sent before the close arrives."""
    with Rig() as rig:
        source, sink = ends(rig, up)
        source.socket.setblocking(False)
        data, sent = payload(8 * MIB, 7), 0
        while sent < len(data) and not source.stuck():
            sent += source.socket.send(data[sent : sent + 100_000])
        source.socket.setblocking(True)
        source.close()
        assert digest(sink.rest()) == digest(data[:sent])
        rig.quiet()
        rig.all_logged(f"[info] client logged in{suffix()}", f"[info] proxied session done{suffix()}")


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_a_receiver_that_leaves_ends_it(up: bool, reset: bool) -> None:
    """While the pipe is full: the pipe is not lent again with the bytes of another session."""
    with Rig() as rig:
        source, sink = ends(rig, up)
        sink.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sender = Sender(source, bytes(64 * MIB))  # more than the kernel holds
        until(source.stuck)
        sink.close(reset=reset)
        rig.quiet()
        assert not sender.done()
        source, sink = ends(rig, up)
        data = payload(4 * MIB, 9)
        sender = Sender(source, data)
        assert read_digest(sink, len(data)) == digest(data)
        assert sender.done()


def test_more_bulk_than_pipes() -> None:
    """Pipes are limited; what gets none is copied."""
    data = payload(MIB, 10)
    with Rig(engine={"worker_connections": 400}) as rig:
        sessions = [rig.relay() for _ in range(80)]
        senders = [Sender(backend, data) for _, backend in sessions]
        assert rig.stat("pipes") <= 64
        for client, _ in sessions:
            assert read_digest(client, len(data)) == digest(data)
        assert all(sender.done() for sender in senders)
        assert rig.stat("relaying") == 80
        assert rig.stat("pipes") <= 64


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_a_receiver_that_never_reads_on(up: bool) -> None:
    with Rig(proxy_timeout=2 * TIMEOUT) as rig:
        source, sink = ends(rig, up)
        due = rig.fill(source, sink, payload(MIB))
        assert rig.stat("pipes_lent") == 1
        rig.quiet()
        assert rig.stat("pipes") == 0  # it was full: nobody else can have it
        assert due.startswith(sink.rest())
        rig.all_logged(TIMED_OUT, since=1)


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_a_sender_that_stops_half_way_keeps_no_pipe(up: bool) -> None:
    with Rig() as rig:
        source, sink = ends(rig, up)
        due = rig.fill(source, sink, payload(MIB))
        assert rig.stat("pipes_lent") == 1
        assert sink.read(len(due)) == due
        until(lambda: rig.stat("pipes") == 0)  # nor does the engine, after a while
        assert rig.stat("relaying") == 1
        source.send(b"the rest\r\n")
        assert sink.line() == b"the rest\r\n"


@pytest.mark.parametrize("ends_after", [False, True], ids=["goes on", "ends"])
@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_urgent_data_behind_a_full_pipe(up: bool, ends_after: bool) -> None:
    """splice() stops at it, and then says that there is nothing, or that it was the end."""
    rest = payload(200_000)
    with Rig() as rig:
        source, sink = ends(rig, up)
        due = rig.fill(source, sink, payload(MIB))
        assert rig.stat("pipes_lent") == 1
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(send_urgently, source, rest, ends_after)
            assert sink.read(len(due + rest)) == due + rest
            sent.result()
        if ends_after:
            assert sink.rest() == b""
            rig.quiet()


def send_urgently(peer: Peer, rest: bytes, ends_after: bool) -> None:
    """A byte of urgent data, which is no part of the stream, and what follows it."""
    assert peer.socket.send(b"!", socket.MSG_OOB) == 1
    peer.send(rest)
    if ends_after:
        peer.shut()


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_a_sender_that_resets_half_way(up: bool) -> None:
    """What has been taken from it is passed on."""
    with Rig() as rig:
        source, sink = ends(rig, up)
        due = rig.fill(source, sink, payload(MIB))
        assert rig.stat("pipes_lent") == 1
        source.close(reset=True)
        got = sink.rest()
        assert len(got) > 65536
        assert due.startswith(got)
        rig.quiet()


@pytest.mark.parametrize(
    "end", ["client closes", "client resets", "backend closes", "backend resets", "cut", "stop"]
)
def test_the_end_with_full_pipes_both_ways(end: str) -> None:
    data = payload(MIB)
    with Rig() as rig:
        sessions = [rig.relay() for _ in range(4)]
        for client, backend in sessions:
            rig.fill(client, backend, data)
            rig.fill(backend, client, data)
        assert rig.stat("pipes_lent") == 8
        if end == "stop":
            rig.engine.stop()
        elif end == "cut":
            rig.engine.shutdown()
            rig.engine.cut_relays()
        else:
            for client, backend in sessions:
                (client if "client" in end else backend).close(reset="resets" in end)
            rig.quiet()
            assert rig.stat("pipes") == 0
        if end in ("stop", "cut"):
            rig.ended()
        for client, backend in sessions:
            (backend if "client" in end else client).rest()


def test_a_user_whose_budget_for_pipes_is_used_up() -> None:
    """Bulk is copied then: see few_pipes.py."""
    script = Path(__file__).parent.parent / "support" / "few_pipes.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_client_has_pipelined_comes_first() -> None:
    rest = b"".join(b"b%d NOOP\r\n" % number for number in range(200))
    with Rig() as rig:
        client, backend = rig.backend_login(b"a LOGIN user pass\r\n" + rest[:1000])
        client.send(rest[1000:])
        backend.send(b"* OK\r\n")
        assert backend.line() == b'a LOGIN "user" "pass"\r\n'
        backend.send(b"a OK in\r\n* 1 EXISTS\r\n")
        assert backend.read(len(rest)) == rest
        assert client.line() + client.line() == b"a OK in\r\n* 1 EXISTS\r\n"


def test_what_is_left_of_the_login_comes_before_that() -> None:
    """A backend with LITERAL+ that does not read the password, and lets in all the same."""
    size = 3 * MIB
    password = payload(size, 13).replace(b"\0", b"x")
    said = b"a LOGIN user {%d+}\r\n" % size + password + b"\r\nb NOOP\r\n"
    with Rig(client_buffer=4 * MIB, proxy_buffer=4096) as rig:
        rig.backend.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client, backend = rig.backend_login(said)
        backend.send(b"* OK [CAPABILITY LITERAL+] hi\r\n")
        assert backend.line() == b"a LOGIN {4+}\r\n"
        backend.send(b"a OK in\r\n")
        assert client.line() == b"a OK in\r\n"
        assert backend.line() == b"user {%d+}\r\n" % size
        assert backend.read(size) == password
        assert backend.line() == b"\r\n"
        assert backend.line() == b"b NOOP\r\n"


def test_replies_that_come_before_their_commands() -> None:
    with Rig(protocol="pop3") as rig:
        client = rig.client()
        client.send(b"USER user\r\n")
        client.line()
        client.send(b"PASS pass\r\nSTAT\r\n")
        rig.asked().send(rig.accepting())
        backend = rig.connected()
        backend.send(b"+OK hi\r\n+OK user\r\n+OK in\r\n")
        assert client.line() == b"+OK in\r\n"
        assert [backend.line() for _ in range(3)] == [b"USER user\r\n", b"PASS pass\r\n", b"STAT\r\n"]


@pytest.mark.parametrize("size", [4096, 5000, 500_000])
def test_pipelined_bulk(size: int) -> None:
    """More than the command buffer holds, sent before the login is done."""
    data = payload(size, 11)
    with Rig() as rig:
        client, auth = rig.ask(b"a LOGIN user pass\r\n")
        sender = Sender(client, data)
        auth.send(rig.accepting())
        backend = rig.connected()
        backend.send(b"* OK\r\n")
        backend.line()
        backend.send(b"a OK in\r\n")
        assert read_digest(backend, size) == digest(data)
        assert sender.done()


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [False, True], ids=["client", "backend"])
def test_no_half_close(up: bool) -> None:
    """Who shuts its side ends the session (reference 7.6)."""
    with Rig() as rig:
        source, sink = ends(rig, not up)
        source.send(b"last words")
        source.shut()
        assert sink.rest() == b"last words"
        assert source.rest() == b""
        rig.quiet()
        rig.all_logged(f"[info] proxied session done{suffix()}", since=1)


CLIENT_GONE = (
    "[info] recv() failed (104: Connection reset by peer) while proxying and reading from client" + suffix(),
    f"[info] proxied session done{suffix()}",
)


def test_client_resets() -> None:
    with Rig() as rig:
        client, backend = rig.relay()
        client.close(reset=True)
        assert backend.rest() == b""
        rig.quiet()
        rig.all_logged(*CLIENT_GONE, since=1)


@pytest.mark.parametrize("bulk", [True, False], ids=["a full pipe", "a full buffer"])
def test_client_resets_while_its_backend_does_not_read(bulk: bool) -> None:
    with Rig() as rig:
        client, backend = rig.relay()
        if bulk:
            rig.fill(client, backend, payload(MIB))
            assert rig.stat("pipes_lent") == 1
        else:
            rig.stuff(client, backend)
        client.close(reset=True)
        rig.quiet()
        rig.all_logged(*CLIENT_GONE, since=1)
        assert backend.rest() != b""


def test_client_closes_while_its_backend_does_not_read() -> None:
    """It has said all that it had to say: its backend gets every byte."""
    with Rig() as rig:
        client, backend = rig.relay()
        due = rig.stuff(client, backend)
        client.shut()
        assert digest(backend.rest()) == digest(due)
        rig.quiet()
        rig.all_logged(f"[info] proxied session done{suffix()}", since=1)


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
def test_backend_is_gone_while_its_client_does_not_read(reset: bool) -> None:
    """What the backend has said before is the client's."""
    with Rig() as rig:
        client, backend = rig.relay()
        due = rig.stuff(backend, client)
        backend.close(reset=reset)
        until(rig.asleep)
        assert rig.stat("sessions") == 1
        got = client.rest()
        assert due.startswith(got)
        assert len(got) == len(due) or reset
        rig.quiet()


def test_backend_resets() -> None:
    with Rig() as rig:
        client, backend = rig.relay()
        backend.close(reset=True)
        assert client.rest() == b""
        rig.quiet()
        action = "while proxying and reading from upstream"
        rig.all_logged(
            f"[error] recv() failed (104: Connection reset by peer) {action}{suffix()}",
            f"[info] proxied session done{suffix()}",
            since=1,
        )


def test_idle_sessions_time_out() -> None:
    with Rig(proxy_timeout=100) as rig:
        client, backend = rig.relay()
        assert client.rest() == b""
        assert backend.rest() == b""
        rig.quiet()
        rig.all_logged(TIMED_OUT, since=1)


def test_a_backend_that_talks_does_not_extend_the_time() -> None:
    with Rig(proxy_timeout=300) as rig:
        client, backend = rig.relay()
        received = 0
        with pytest.raises((EOFError, OSError)):
            while received < 1_000_000:
                backend.send(b"* tick\r\n")
                received += len(client.line())
        assert received < 1_000_000
        rig.logged(TIMED_OUT)


def test_a_client_that_talks_does() -> None:
    """Each command renews it; the other clients measure the time."""
    with Rig(proxy_timeout=TIMEOUT, timeout=300) as rig:
        client, backend = rig.relay()
        for _ in range(TIMEOUT // 300 + 1):
            assert rig.connect().rest() == SILENT
            client.send(b"b NOOP\r\n")
            assert backend.line() == b"b NOOP\r\n"
        assert rig.stat("relaying") == 1


def test_the_login_phase_timeout_does_not_end_a_relay() -> None:
    with Rig(timeout=TIMEOUT, auth_http_timeout=TIMEOUT) as rig:
        client, backend = rig.relay()
        other = rig.connect()  # times out after the relay would have
        assert other.rest() == SILENT
        client.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"


def test_nagle_is_left_to_the_kernel_but_small_replies_are_not_held_back() -> None:
    with Rig() as rig:
        client, backend = rig.relay()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(300):
            client.send(b"%d\r\n" % number)
            assert backend.line() == b"%d\r\n" % number
            backend.send(b"%d OK\r\n" % number)
            assert client.line() == b"%d OK\r\n" % number
