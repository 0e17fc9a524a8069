"""Peers that fail or mean harm: sessions end as they should, nothing leaks, neighbours do not notice.

Each case checks what its client is told and what is logged (reference 6.3 and 7.1). The proxy is one for
the whole module; after every case its worker is the same process with the same descriptors as before, and
a session that was relayed all the while has lost nothing.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import ports
from support.authserver import AuthServer, answer
from support.backend import Backend
from support.listener import CLOSE, PATIENCE, RESET, Connection, Moves, Trickle, abort_all
from support.processes import serving, wait_for
from support.proxy import Proxy
from support.script import CLOSED, SHUT, VANISH, Client, Send, Talk, expected
from support.speech import SPEECHES, Speech


class Arena:
    """The proxy with scripted peers, and a neighbour: a session that stays relayed."""

    def __init__(self, kind: str, speech: Speech) -> None:
        self.speech = speech
        with contextlib.ExitStack() as stack:
            self.auth = stack.enter_context(AuthServer())
            self.backend = stack.enter_context(Backend())
            self.dead = ports.reserve()
            listens = [ports.reserve() for _ in range(6)]
            self.port, self.hasty_port, self.dead_auth_port, *others = listens
            self.kept_port, self.hasty_kept_port, self.distrusted_port = others
            protocol = f"protocol {speech.protocol};"
            limits = "timeout 1s; auth_http_timeout 1s;"
            dead_auth = f"auth_http 127.0.0.1:{self.dead}/auth;"
            kept = protocol
            if kind == "fastmail":  # nginx keeps none
                kept += " auth_http_keepalive 2; auth_http_keepalive_time 60s;"
            mail = f"""
                auth_http 127.0.0.1:{self.auth.port}/auth; server_name mail.example.com;
                server {{ listen 127.0.0.1:{self.port}; {protocol} }}
                server {{ listen 127.0.0.1:{self.hasty_port}; {protocol} {limits} }}
                server {{ listen 127.0.0.1:{self.dead_auth_port}; {protocol} {dead_auth} }}
                server {{ listen 127.0.0.1:{self.kept_port}; {kept} }}
                server {{ listen 127.0.0.1:{self.hasty_kept_port}; {kept} auth_http_timeout 2s; }}
                server {{ listen 127.0.0.1:{self.distrusted_port}; {kept} }}"""
            self.proxy = stack.enter_context(Proxy(kind, mail, listens))
            self.accept = answer("OK", port=self.backend.port)
            self.neighbour = Neighbour(self, stack)
            self._worker = self.proxy.worker
            self._descriptors = self._settled_descriptors()
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def script(self, auth: list[Moves], backend: list[Moves]) -> None:
        """What the auth server and the backend do next."""
        self.auth.script(auth)
        self.backend.script(backend)

    def client(self, port: int | None = None) -> Client:
        return Client(port or self.port)

    def memory(self) -> int:
        """The worker's own memory in kilobytes, whoever else has a copy of a page or gives one up."""
        lines = Path(f"/proc/{self._worker}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

    def assert_unharmed(self) -> None:
        """The worker lives, holds no descriptor more than before, and the neighbour is served."""
        assert self.proxy.worker == self._worker
        wait_for("the descriptors of before", lambda: self._count() <= self._descriptors)
        self.neighbour.talk()

    def _count(self) -> int:
        return len(os.listdir(f"/proc/{self._worker}/fd"))

    def _settled_descriptors(self) -> int:
        """The count once the worker has all it needs."""
        wait_for("the worker's loop", lambda: serving(self._worker))  # sessions are served before that
        counts = [self._count()]
        while len(counts) < 10 or len(set(counts[-10:])) > 1:
            time.sleep(0.05)
            counts.append(self._count())
        return counts[-1]


class Neighbour:
    """One session that is relayed while others go wrong, with peers of its own."""

    def __init__(self, arena: Arena, stack: contextlib.ExitStack) -> None:
        replies: list[Moves] = [*arena.speech.backend, *(f"* {number}" for number in range(1000))]
        arena.script([arena.accept], replies)
        self._client = stack.enter_context(arena.client())
        self._client.play([(None, arena.speech.greeting), *arena.speech.login])
        self._said = 0

    def talk(self) -> None:
        """One exchange."""
        self._client.send("n NOOP")
        assert self._client.lines(1) == b"* %d\r\n" % self._said
        self._said += 1


@pytest.fixture(scope="module", params=SPEECHES, ids=lambda speech: speech.protocol)
def shared_arena(proxy_kind: str, request: pytest.FixtureRequest) -> Iterator[Arena]:
    arena = Arena(proxy_kind, request.param)
    yield arena
    arena.close()


@pytest.fixture
def arena(shared_arena: Arena) -> Iterator[Arena]:
    yield shared_arena
    shared_arena.assert_unharmed()


@pytest.mark.parametrize(
    ("moves", "log"),
    [
        pytest.param(CLOSE, None, id="closes unanswered"),
        pytest.param((b"HTTP/1.0 200 OK\r\nAuth-St", 0.05, CLOSE), None, id="closes early"),
        pytest.param(
            RESET, r"recv\(\) failed \(104: Connection reset by peer\) while in http auth state", id="resets"
        ),
        pytest.param(
            (),
            r"\[error\] .*auth http server .* timed out \(110: Connection timed out\) while in http auth",
            id="stalls",
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\n", "timed out", id="stalls in the header"),
        pytest.param(
            Trickle(b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 100, 0.02), "timed out", id="is too slow"
        ),
        pytest.param(b"\0\xff\x80garbage\r\n\r\n", "sent invalid header in response", id="sends garbage"),
        pytest.param(b"\r\n\r\n", "did not send server or port", id="sends nothing but an empty line"),
        pytest.param(b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 100_000, None, id="floods"),
        pytest.param(b"HTTP/1.0 200 OK\r\nX: " + b"y" * 1_000_000, None, id="floods a line"),
        pytest.param(b"HTTP/1.0 200 " + b"y" * 1_000_000, None, id="floods the status line"),
    ],
)
def test_auth_server(arena: Arena, moves: Moves, log: str | None) -> None:
    arena.script([moves], [])
    fails(arena, arena.hasty_port if log and "timed out" in log else arena.port, log)


def test_auth_server_refuses(arena: Arena) -> None:
    fails(arena, arena.dead_auth_port, r"\[error\] .*\(111: Connection refused\) while in http auth state")


def test_auth_server_answers_byte_by_byte(arena: Arena) -> None:
    arena.script([Trickle(arena.accept)], [*arena.speech.backend])
    plays(arena, arena.speech.login)


def test_auth_server_floods_after_the_answer(arena: Arena) -> None:
    arena.script([arena.accept + b"x" * 1_000_000], [*arena.speech.backend])
    plays(arena, arena.speech.login)


@dataclass(frozen=True)
class Login:
    """One login where connections to the auth server are kept."""

    moves: list[Moves]
    """What the requests that it makes are answered."""
    opened: int
    """How many connections it opens; the others that it needs have been kept."""
    error: str | None = None
    """It fails, and this is logged ("": nothing is)."""
    ends: bool = False
    """All auth connections end then."""
    over: threading.Event | None = None
    """Set when its client has been told."""


def keeps(arena: Arena) -> bytes:
    """An answer that lets in and leaves the connection open."""
    return http11(answer("OK", "Content-Length: 0", port=arena.backend.port))


def strays(arena: Arena) -> bytes:
    """One that would lead to a backend that is not there, if anybody believed it."""
    return http11(answer("OK", "Content-Length: 0", port=arena.dead))


def http11(data: bytes) -> bytes:
    return data.replace(b"HTTP/1.0", b"HTTP/1.1")


def too_late(before: bytes, after: bytes) -> Login:
    """One that is answered, or whose answer goes on, when it has failed."""
    over = threading.Event()
    return Login([(before, over, after)], 0, error="timed out", over=over)


UNASKED = "answers again while idle"
KEPT: dict[str, Callable[[Arena], list[Login]]] = {
    "used for many": lambda arena: [Login([keeps(arena)], 1), *[Login([keeps(arena)], 0)] * 5],
    "closed while idle": lambda arena: [
        Login([(keeps(arena), CLOSE)], 1, ends=True),
        Login([arena.accept], 1),
    ],
    "reset while idle": lambda arena: [
        Login([(keeps(arena), RESET)], 1, ends=True),
        Login([arena.accept], 1),
    ],
    "closed under a request": lambda arena: [Login([keeps(arena)], 1), Login([CLOSE, keeps(arena)], 1)],
    "reset under a request": lambda arena: [Login([keeps(arena)], 1), Login([RESET, keeps(arena)], 1)],
    "closed under a request and again": lambda arena: [
        Login([keeps(arena)], 1),
        Login([CLOSE, CLOSE], 1, error=""),
        Login([keeps(arena)], 1),
    ],
    "closed in an answer": lambda arena: [
        Login([keeps(arena)], 1),
        Login([(keeps(arena)[:20], CLOSE)], 0, error=""),
        Login([keeps(arena)], 1),
    ],
    "answers twice at once": lambda arena: [
        Login([keeps(arena) + strays(arena)], 1, ends=True),
        Login([keeps(arena)], 1),
    ],
    UNASKED: lambda arena: [
        Login([(keeps(arena), 0.05, strays(arena))], 1, ends=True),
        Login([keeps(arena)], 1),
    ],
    "answers late": lambda arena: [
        Login([keeps(arena)], 1),
        too_late(b"", strays(arena)),
        Login([keeps(arena)], 1),
    ],
    "answers half in time": lambda arena: [
        Login([keeps(arena)], 1),
        too_late(strays(arena)[:60], strays(arena)[60:]),
        Login([keeps(arena)], 1),
    ],
    "answers byte by byte": lambda arena: [
        Login([Trickle(keeps(arena))], 1),
        Login([Trickle(keeps(arena))], 0),
    ],
    "floods behind an answer": lambda arena: [
        Login([keeps(arena) + b"x" * 1_000_000], 1, ends=True),
        Login([keeps(arena)], 1),
    ],
    "owes a body": lambda arena: [
        Login([keeps(arena).replace(b"Length: 0", b"Length: 9")], 1),
        Login([arena.accept], 1, ends=True),
    ],
}


TIMED_OUT = {"answers late", "answers half in time", "owes a body"}
"""What ends by auth_http_timeout."""


@pytest.mark.parametrize("fault", KEPT)
def test_kept_auth_connections(arena: Arena, fault: str, proxy_kind: str) -> None:
    """Each login gets its own answer, or none."""
    if proxy_kind == "nginx":
        pytest.skip("nginx keeps none")
    connections: list[Connection] = []
    port = arena.hasty_kept_port if fault in TIMED_OUT else arena.kept_port
    if fault == UNASKED:  # which has no connection kept any more, to the end
        port = arena.distrusted_port
    for login in KEPT[fault](arena):
        arena.script(login.moves, [*arena.speech.backend])
        if login.error is None:
            plays(arena, arena.speech.login, port)
        else:
            fails(arena, port, login.error or None)
        if login.over is not None:
            login.over.set()
        assert len(arena.auth.requests) == len(login.moves)
        assert len(arena.auth.connections) == login.opened
        connections += arena.auth.connections
        if login.ends:
            assert all(connection.ended.wait(PATIENCE) for connection in connections)
    abort_all(connections)


def test_a_client_leaves_while_a_kept_connection_asks(arena: Arena, proxy_kind: str) -> None:
    """Whose answer then comes is nobody's; the connection goes on to serve."""
    if proxy_kind == "nginx":
        pytest.skip("nginx keeps none")
    arena.script([keeps(arena)], [*arena.speech.backend])
    plays(arena, arena.speech.login, arena.kept_port)
    connections = list(arena.auth.connections)
    for leave in (SHUT, VANISH):
        start = arena.proxy.log_size
        arena.script([(0.05, keeps(arena))], [*arena.speech.backend])
        with arena.client(arena.kept_port) as client:
            client.play([(None, arena.speech.greeting), *arena.speech.asked_login])
            client.send(leave)
            arena.proxy.wait_log("client logged in", start)
        arena.script([keeps(arena)], [*arena.speech.backend])
        plays(arena, arena.speech.login, arena.kept_port)
        assert arena.auth.connections == []
    abort_all(connections)


BACKENDS: dict[str, tuple[Callable[[Speech], list[Moves]], str | None]] = {
    "closes at once": (lambda speech: [CLOSE], None),
    "closes in the greeting": (lambda speech: [(b"* O", 0.05, CLOSE)], None),
    "closes at the login": (lambda speech: [*speech.backend[:-1], CLOSE], None),
    "resets": (
        lambda speech: [RESET],
        r"\(104: Connection reset by peer\) while reading response from upstream",
    ),
    "resets at the login": (
        lambda speech: [*speech.backend[:-1], RESET],
        r"\(104: Connection reset by peer\) while",
    ),
    "stalls": (
        lambda speech: [()],
        r"\[info\] .*upstream timed out \(110: Connection timed out\) while connecting to upstream",
    ),
    "stalls at the login": (
        lambda speech: [*speech.backend[:-1], ()],
        r"upstream timed out \(110: Connection timed out\) while",
    ),
    "stalls in its reply": (
        lambda speech: [*speech.backend[:-1], speech.backend[-1].encode()],
        "upstream timed out",
    ),
    "is too slow": (lambda speech: [Trickle(speech.backend[0].encode() * 50, 0.02)], "upstream timed out"),
    "sends garbage": (lambda speech: [b"\0\x01\x80\xff\r\n"], "upstream sent invalid response"),
    "refuses the login": (
        lambda speech: [*speech.backend[:-1], speech.refusal],
        "upstream sent invalid response",
    ),
    "floods": (
        lambda speech: [speech.backend[0].encode() + b"x" * 1_000_000],
        "upstream sent too long response line",
    ),
    "floods at the login": (
        lambda speech: [*speech.backend[:-1], speech.backend[-1].encode() + b"x" * 1_000_000],
        "upstream sent too long response line",
    ),
}


@pytest.mark.parametrize("fault", BACKENDS)
def test_backend(arena: Arena, fault: str) -> None:
    replies, log = BACKENDS[fault]
    arena.script([arena.accept], replies(arena.speech))
    fails(arena, arena.hasty_port if log and "timed out" in log else arena.port, log)


def test_backend_refuses(arena: Arena) -> None:
    arena.script([answer("OK", port=arena.dead)], [])
    fails(arena, arena.port, r"\[error\] .*\(111: Connection refused\) while reading response from upstream")


def test_backend_answers_byte_by_byte(arena: Arena) -> None:
    arena.script([arena.accept], [Trickle(reply.encode() + b"\r\n") for reply in arena.speech.backend])
    plays(arena, arena.speech.login)


def test_backend_resets_in_the_relay(arena: Arena) -> None:
    start = arena.proxy.log_size
    arena.script([arena.accept], [*arena.speech.backend, RESET])
    plays(arena, [*arena.speech.login, ("b NOOP", CLOSED)])
    arena.proxy.wait_log(
        r"\[error\] .*recv\(\) failed \(104: .*\) while proxying and reading from upstream", start
    )
    arena.proxy.wait_log("proxied session done", start)


STATES: dict[str, Callable[[Speech], Talk]] = {
    "before the greeting": lambda speech: [],
    "at the greeting": lambda speech: [(None, speech.greeting)],
    "in a command": lambda speech: [(None, speech.greeting), (speech.half_command, None)],
    "in an exchange": lambda speech: [(None, speech.greeting), *speech.exchange],
    "after the credentials": lambda speech: [(None, speech.greeting), *speech.asked_login],
    "in the relay": lambda speech: [(None, speech.greeting), *speech.login, (b"b FETCH 1 BO", None)],
}


@pytest.mark.parametrize("leave", [SHUT, VANISH], ids=["closes", "resets"])
@pytest.mark.parametrize("state", STATES)
def test_client_leaves(arena: Arena, state: str, leave: Send) -> None:
    for _ in range(10):
        arena.script([(0.01, arena.accept)], [(0.01, reply) for reply in arena.speech.backend])
        with arena.client() as client:
            client.play(STATES[state](arena.speech))
            client.send(leave)


@pytest.mark.parametrize("state", ["at the greeting", "in a command", "in an exchange"])
def test_client_stalls(arena: Arena, state: str) -> None:
    start = arena.proxy.log_size
    with arena.client(arena.hasty_port) as client:
        client.play(STATES[state](arena.speech))
        assert client.rest() == arena.speech.timed_out
        assert client.closed
    arena.proxy.wait_log(r"client timed out \(110: Connection timed out\) while in auth state", start)


def test_client_never_reads_its_replies(arena: Arena) -> None:
    with arena.client(arena.hasty_port) as client:
        client.flood(b"NOOP\r\n" * 1000, PATIENCE)
        assert client.closed


def test_client_never_reads_in_the_relay(arena: Arena) -> None:
    arena.script([arena.accept], [*arena.speech.backend, b"x" * 20_000_000])
    before = arena.memory()
    with arena.client() as client:
        client.play([(None, arena.speech.greeting), *arena.speech.login, ("b FETCH", b"x")])
        backend = arena.backend.connections[0]
        assert not backend.ended.wait(1.0)
        assert arena.memory() - before < 4000
        arena.neighbour.talk()
    assert backend.ended.wait(PATIENCE)


def test_backend_never_reads_in_the_relay(arena: Arena) -> None:
    read_on = threading.Event()
    arena.script([arena.accept], [*arena.speech.backend, (b"x", read_on)])
    before = arena.memory()
    with arena.client() as client:
        client.play([(None, arena.speech.greeting), *arena.speech.login, ("b APPEND", b"x")])
        client.flood(b"y" * 1_000_000, 0.5)
        assert not client.closed
        assert arena.memory() - before < 4000
        arena.neighbour.talk()
        read_on.set()


def test_client_sends_a_megabyte_without_line_end(arena: Arena) -> None:
    start = arena.proxy.log_size
    with arena.client() as client:
        client.play([(None, arena.speech.greeting)])
        client.send(arena.speech.half_command + b"x" * 1_000_000)
        client.rest()  # the reply may be lost to the reset: much of what we sent is unread
        assert client.closed
    arena.proxy.wait_log("client sent too long command", start)


@pytest.mark.parametrize(
    "junk", [b"\0" * 100, bytes(range(128, 228)), b"\xff\xfe\r\0\n", b"{" * 100, b'a LOGIN "\\']
)
def test_client_sends_junk(arena: Arena, junk: bytes) -> None:
    with arena.client() as client:
        client.play([(None, arena.speech.greeting)])
        client.send(junk + b"\r\n")
        assert client.lines(1).endswith(arena.speech.bad)
        client.send(arena.speech.quit)
        assert client.rest().endswith(arena.speech.bye)
        assert client.closed


def test_many_failures_leave_no_memory(arena: Arena) -> None:
    def round_of(sessions: int) -> None:
        for _ in range(sessions):
            arena.script([arena.accept], [*arena.speech.backend[:-1], arena.speech.refusal])
            plays(arena, arena.speech.failing_login)

    round_of(100)
    before = arena.memory()
    round_of(500)
    assert arena.memory() - before < 500


def plays(arena: Arena, talk: Talk, port: int | None = None) -> None:
    """The client gets exactly what the table says, after the greeting."""
    talk = [(None, arena.speech.greeting), *talk]
    with arena.client(port) as client:
        client.play(talk)
        client.finish()
        assert client.received == expected(talk)
        assert client.closed


def fails(arena: Arena, port: int, log: str | None) -> None:
    """A login is an internal error, and the log says why (or, None, nothing but that a client connected)."""
    start = arena.proxy.log_size
    plays(arena, arena.speech.failing_login, port)
    if log:
        arena.proxy.wait_log(log, start)
