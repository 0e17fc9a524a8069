"""The engine as a whole: accepting, limits, draining, stopping, and giving everything back."""

import os
import random
import re
import select
import struct

import pytest
from dialogue.exchange import server
from support.engine import NAME, PATIENCE, Peer, Port, Rig, descriptors, suffix, until

from fastmail._speedups import AUTH_CLOSED, AUTH_TIMED_OUT, EVENT_AUTH, EVENT_DRAINED, Engine

GREETING = b"* OK IMAP4 ready\r\n"
LOGIN = b"a LOGIN user pass\r\n"
INTERNAL = b"* BAD internal server error\r\n"
LISTENERS = 2  # what the listener and the channel count for


# --- limits --------------------------------------------------------------------------------------


def test_too_many_clients() -> None:
    with Rig(engine={"worker_connections": LISTENERS + 2}) as rig:
        first, _second = rig.client(), rig.client()
        assert rig.connect().rest() == b""
        rig.logged(f"[alert] {LISTENERS + 2} worker_connections are not enough")
        assert rig.stat("sessions") == 2
        first.close()
        until(lambda: rig.stat("sessions") == 1)
        assert rig.connect().line() == GREETING


def test_no_connection_left_for_the_auth_server() -> None:
    with Rig(engine={"worker_connections": LISTENERS + 1}) as rig:
        client = rig.client()
        client.send(LOGIN)
        assert client.rest() == INTERNAL
        what = f"{LISTENERS + 1} worker_connections are not enough"
        rig.logged(f"[alert] {what} while in http auth state{suffix(upstream='')}")


def test_no_connection_left_for_the_backend() -> None:
    with Rig(engine={"worker_connections": LISTENERS + 2}, auth_http_keepalive=1) as rig:
        client, auth = rig.ask()
        auth.send(rig.accepting("Content-Length: 0", head="HTTP/1.1 200 OK"))
        assert client.rest() == INTERNAL
        what = f"{LISTENERS + 2} worker_connections are not enough"
        rig.logged(f"[alert] {what} while connecting to upstream{suffix()}")


def test_connections_are_counted() -> None:
    with Rig() as rig:
        assert rig.stat("connections") == LISTENERS
        client, auth = rig.ask()
        assert rig.stat("connections") == LISTENERS + 2
        auth.send(rig.accepting())
        backend = rig.connected()
        backend.send(b"* OK\r\n")
        backend.line()
        backend.send(b"a OK in\r\n")
        client.line()
        assert rig.stat("connections") == LISTENERS + 2
        assert (rig.stat("relaying"), rig.stat("logins"), rig.stat("accepted")) == (1, 1, 1)
        client.close()
        rig.quiet()
        assert rig.stat("connections") == LISTENERS


@pytest.mark.parametrize("multi_accept", [False, True])
def test_many_clients_at_once(multi_accept: bool) -> None:
    with Rig(engine={"worker_connections": 400, "multi_accept": multi_accept}) as rig:
        clients = [rig.connect() for _ in range(300)]
        for client in clients:
            assert client.line() == GREETING
        assert rig.stat("sessions") == 300
        for client in clients:
            client.send(b"a LOGOUT\r\n")
        for client in clients:
            assert client.rest() == b"* BYE\r\na OK completed\r\n"
        rig.quiet()


# --- the end -------------------------------------------------------------------------------------


def test_shutdown_lets_sessions_finish() -> None:
    with Rig() as rig:
        relayed, backend = rig.relay()
        early = rig.client()
        rig.engine.shutdown()
        for _ in range(2):  # the second one is answered after the order has been carried out
            early.send(b"x NOOP\r\n")
            assert early.line() == b"x OK completed\r\n"
        late = rig.connect()  # the kernel takes it; nobody greets it
        early.send(LOGIN)
        rig.asked().send(rig.accepting())
        other = rig.connected()
        other.send(b"* OK\r\n")
        other.line()
        other.send(b"a OK in\r\n")
        assert early.line() == b"a OK in\r\n"
        relayed.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"
        assert rig.thread.is_alive()
        assert late.silent()
        early.close()
        relayed.close()
        rig.thread.join(PATIENCE)
        assert not rig.thread.is_alive()
        assert [kind for kind, _, _ in rig.engine.events()] == [EVENT_DRAINED]
        assert late.silent()


def test_shutdown_without_sessions() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.send(b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\n\r\n")
        client.rest()
        rig.quiet()
        rig.engine.shutdown()
        rig.engine.shutdown()
        rig.thread.join(PATIENCE)
        assert not rig.thread.is_alive()


def test_stop_cuts() -> None:
    with Rig() as rig:
        relayed, backend = rig.relay()
        early = rig.client()
        rig.engine.stop()
        rig.ended()
        assert [peer.rest() for peer in (relayed, backend, early)] == [b"", b"", b""]


def test_stop_after_shutdown() -> None:
    with Rig() as rig:
        client = rig.client()
        rig.engine.shutdown()
        rig.engine.stop()
        rig.ended()
        assert client.rest() == b""


def test_closing_twice() -> None:
    with Rig() as rig:
        rig.client()
        rig.engine.stop()
        rig.ended()
        rig.engine.close()
        for method in (rig.engine.run, rig.engine.turn, rig.engine.stats, rig.engine.events, rig.engine.stop):
            with pytest.raises(ValueError, match="closed"):
                method()


def test_never_run() -> None:
    before = descriptors()
    port = Port()
    engine = Engine([(port.socket.fileno(), b"x", server())])
    client = port.connect()
    engine.close()
    client.close()
    port.socket.close()
    assert descriptors() == before


def test_what_cannot_be_opened_leaves_nothing_open() -> None:
    before = descriptors()
    port = Port()
    listener = (port.socket.fileno(), b"x", server())
    with pytest.raises(OSError, match="epoll_ctl"):
        Engine([(-1, b"x", server())])
    with pytest.raises(ValueError, match="8 bytes"):
        Engine([listener], connection_counter=bytearray(7))
    with pytest.raises(TypeError):
        Engine([(port.socket.fileno(), "text", server())])  # type: ignore[list-item]
    first = Engine([listener])
    with pytest.raises(ValueError, match="one Engine"):
        Engine([listener])
    first.close()
    Engine([listener]).close()
    port.socket.close()
    assert descriptors() == before


def test_nested_in_another_loop() -> None:
    """turn() serves what is ready and does not wait; fileno() tells when."""
    before = descriptors()
    port, shared = Port(), bytearray(struct.pack("=Q", 41))
    engine = Engine([(port.socket.fileno(), b"x", server())], exclusive=False, connection_counter=shared)
    assert engine.turn()
    client = port.connect()

    def serve(until_readable: Peer) -> None:
        while until_readable.silent():
            assert select.select([engine.fileno(), until_readable.socket.fileno()], [], [], PATIENCE)[0]
            assert engine.turn()

    serve(client)
    assert client.line() == GREETING
    client.send(b"a LOGOUT\r\n")
    serve(client)
    assert client.rest() == b"* BYE\r\na OK completed\r\n"
    assert struct.unpack("=Q", shared) == (42,)
    engine.shutdown()
    assert not engine.turn()
    assert not engine.turn()
    engine.close()
    client.close()
    port.socket.close()
    assert descriptors() == before
    shared.append(0)  # the engine has let go of it


# --- clients that leave --------------------------------------------------------------------------


class Phases:
    """Sessions in every phase that a client can leave in."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.others: list[Peer] = []

    def connected(self) -> Peer:
        return self.rig.connect()

    def greeted(self) -> Peer:
        return self.rig.client()

    def in_a_command(self) -> Peer:
        client = self.rig.client()
        client.send(b"a LOGIN us")
        return client

    def in_a_literal(self) -> Peer:
        client = self.rig.client()
        client.send(b"a LOGIN {40}\r\n")
        client.line()
        client.send(b"us")
        return client

    def in_sasl(self) -> Peer:
        client = self.rig.client()
        client.send(b"a AUTHENTICATE PLAIN\r\n")
        client.line()
        return client

    def asking(self) -> Peer:
        client, auth = self.rig.ask()
        self.others.append(auth)
        return client

    def in_a_pause(self) -> Peer:
        client, auth = self.rig.ask()
        auth.send(b"Auth-Status: no\r\nAuth-Wait: 1\r\n\r\n")
        auth.rest()
        return client

    def connecting(self) -> Peer:
        client, backend = self.rig.backend_login()
        self.others.append(backend)
        return client

    def logging_in(self) -> Peer:
        client, backend = self.rig.backend_login()
        backend.send(b"* OK\r\n")
        backend.line()
        self.others.append(backend)
        return client

    def relaying(self) -> Peer:
        client, backend = self.rig.relay()
        client.send(b"b NOOP\r\n")
        backend.line()
        return client

    def relaying_bulk(self) -> Peer:
        client, backend = self.rig.relay()
        backend.socket.setblocking(False)
        backend.socket.send(bytes(1 << 20))
        return client

    def all(self) -> list[Peer]:
        return [
            make()
            for make in (
                self.connected, self.greeted, self.in_a_command, self.in_a_literal, self.in_sasl, self.asking,
                self.in_a_pause, self.connecting, self.logging_in, self.relaying, self.relaying_bulk,
            )
        ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_clients_that_leave_leave_nothing(seed: int) -> None:
    choose = random.Random(seed)
    with Rig(engine={"worker_connections": 1000}) as rig:
        phases = Phases(rig)
        clients = [client for _ in range(4) for client in phases.all()]
        assert rig.stat("sessions") == len(clients)
        choose.shuffle(clients)
        for client in clients:
            client.close(reset=choose.random() < 0.5)
        for other in phases.others:
            other.close(reset=choose.random() < 0.5)
        rig.quiet()
        stats = rig.engine.stats()
        assert (stats["connections"], stats["auth_connections"], stats["timers"]) == (LISTENERS, 0, 0)
        assert rig.connect().line() == GREETING


@pytest.mark.parametrize("keepalive", [0, 2])
def test_stopping_in_every_phase_leaves_nothing(keepalive: int) -> None:
    """What is still open when the engine is closed is closed with it: Rig checks."""
    with Rig(engine={"worker_connections": 1000}, auth_http_keepalive=keepalive) as rig:
        phases = Phases(rig)
        phases.all()
        assert rig.stat("sessions") == 11


# --- auth over Python ----------------------------------------------------------------------------


def posted(rig: Rig) -> tuple[int, bytes]:
    """The handle and the request of the next EVENT_AUTH."""
    assert select.select([rig.engine.event_fileno()], [], [], PATIENCE)[0]
    [(kind, handle, (index, request))] = rig.engine.events()
    assert (kind, index) == (EVENT_AUTH, 0)
    return handle, request


def asks(rig: Rig) -> tuple[Peer, int]:
    client = rig.client()
    client.send(LOGIN)
    return client, posted(rig)[0]


def test_auth_over_python() -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client = rig.client()
        client.send(LOGIN)
        handle, request = posted(rig)
        assert request == (
            b"GET /auth HTTP/1.0\r\nHost: auth.test\r\nAuth-Method: plain\r\nAuth-User: user\r\n"
            b"Auth-Pass: pass\r\nAuth-Protocol: imap\r\nAuth-Login-Attempt: 1\r\nClient-IP: 127.0.0.1\r\n\r\n"
        )
        rig.engine.auth_answered(handle, rig.accepting())
        backend = rig.connected()
        backend.send(b"* OK\r\n")
        assert backend.line() == b'a LOGIN "user" "pass"\r\n'
        backend.send(b"a OK in\r\n")
        assert client.line() == b"a OK in\r\n"
        assert rig.engine.events() == []
        assert not rig.auth.waiting()


def test_rejected_over_python_with_a_pause() -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, handle = asks(rig)
        rig.engine.auth_answered(handle, b"Auth-Status: no\r\nAuth-Wait: 1\r\n\r\n")
        assert client.line() == b"a NO no\r\n"
        client.send(LOGIN)
        handle, request = posted(rig)
        assert b"\r\nAuth-Login-Attempt: 2\r\n" in request
        rig.engine.auth_answered(handle, b"Auth-Status: no\r\n\r\n")
        assert client.rest() == b"a NO no\r\n"


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\n", b"Auth-Status: OK", b"HTTP/1.0 200 OK\r\n\r\n"]
)
def test_useless_answers_over_python(answer: bytes) -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, handle = asks(rig)
        rig.engine.auth_answered(handle, answer)
        assert client.rest() == INTERNAL


def test_bad_answers_over_python_are_logged_alike() -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, handle = asks(rig)
        rig.engine.auth_answered(handle, b"HTTP/1.0 200 OK\r\nAuth Status: OK\r\n\r\n")
        assert client.rest() == INTERNAL
        what = "auth http server AUTH sent invalid header in response while in http auth state"
        rig.logged(f"[error] {what}{suffix(upstream='')}")


@pytest.mark.parametrize(
    ("reason", "message", "logged"),
    [
        (AUTH_TIMED_OUT, b"", "auth http server AUTH timed out (110: Connection timed out)"),
        (AUTH_CLOSED, b"", None),
        (AUTH_CLOSED, b"certificate verify failed", "certificate verify failed"),
    ],
)
def test_no_answer_over_python(reason: int, message: bytes, logged: str | None) -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, handle = asks(rig)
        rig.engine.auth_failed(handle, reason, message)
        assert client.rest() == INTERNAL
        rig.quiet()
        assert rig.log() == (
            [f"[error] {logged} while in http auth state{suffix(upstream='')}"] if logged else []
        )


def test_python_that_does_not_answer() -> None:
    with Rig(auth_http_transport="aiohttp", auth_http_timeout=100) as rig:
        client, handle = asks(rig)
        assert client.rest() == INTERNAL
        rig.engine.auth_answered(handle, rig.accepting())  # late
        client, handle = asks(rig)
        rig.engine.auth_answered(handle, b"Auth-Status: no\r\n\r\n")
        assert client.rest() == b"a NO no\r\n"
        assert not rig.backend.waiting()


def test_stale_and_foreign_handles_are_ignored() -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, old = asks(rig)
        rig.engine.auth_answered(old, b"Auth-Status: no\r\n\r\n")
        assert client.rest() == b"a NO no\r\n"
        client, new = asks(rig)  # in the same slot
        choose = random.Random(1)
        for handle in (
            old,
            0,
            new & 0xFFFFFFFF,
            new + 1,
            new + (1 << 32),
            2**64 - 1,
            *[choose.getrandbits(64) for _ in range(50)],
        ):
            rig.engine.auth_answered(handle, rig.accepting())
            rig.engine.auth_failed(handle, AUTH_CLOSED, b"not ours")
        greeted = rig.client()
        assert client.silent()
        assert greeted.silent()
        rig.engine.auth_answered(new, b"Auth-Status: mine\r\n\r\n")
        assert client.rest() == b"a NO mine\r\n"
        assert not rig.backend.waiting()
        assert "not ours" not in "".join(rig.log())


def test_an_answer_given_twice_counts_once() -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, handle = asks(rig)
        rig.engine.auth_answered(handle, rig.accepting())
        rig.engine.auth_answered(handle, rig.accepting())
        rig.engine.auth_failed(handle, AUTH_CLOSED)
        backend = rig.connected()
        backend.send(b"* OK\r\n")
        assert backend.line() == b'a LOGIN "user" "pass"\r\n'
        backend.send(b"a OK in\r\n")
        assert client.line() == b"a OK in\r\n"
        assert not rig.backend.waiting()


def test_events_nobody_takes_do_not_hang_the_engine() -> None:
    """The ring is bounded: whoever finds it full gets the internal error, and others are served."""
    with Rig(auth_http_transport="aiohttp", engine={"worker_connections": 300}) as rig:
        clients = [rig.client() for _ in range(200)]
        for client in clients:
            client.send(LOGIN)
        until(lambda: rig.stat("auth_requests") == 200)
        assert rig.client().silent()
        for client in clients:
            client.close()
        events = rig.engine.events()
        assert len(events) == 200
        for _, handle, _ in events:
            rig.engine.auth_answered(handle, b"Auth-Status: no\r\n\r\n")
        until(lambda: rig.stat("sessions") == 1)


def test_orders_nobody_takes_are_refused() -> None:
    engine = Engine([], worker_connections=10)
    with pytest.raises(BufferError):
        for _ in range(1000):
            engine.auth_answered(1, b"x" * 100)
    engine.close()


# --- the log -------------------------------------------------------------------------------------


def raw_log() -> tuple[str, str]:
    """What two logs hold of the same session, one at level info, one at level error."""
    info, error = os.memfd_create("info"), os.memfd_create("error")
    shared = bytearray(struct.pack("=Q", 6))
    with Rig(log=[(info, 7), (error, 4)], engine={"connection_counter": shared}) as rig:
        client, auth = rig.ask()
        auth.send(b"HTTP/1.0 200 OK\r\n\r\n")
        assert client.rest() == INTERNAL
        rig.quiet()
    texts = []
    for log in (info, error):
        texts.append(os.pread(log, 100_000, 0).decode())
        os.close(log)
    return texts[0], texts[1]


def test_lines_read_like_nginxs() -> None:
    info, error = raw_log()
    date = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"
    connected = rf"{date} \[info\] {os.getpid()}#0: \*7 client 127\.0\.0\.1:\d+ connected to {NAME}\n"
    failed = (
        rf"{date} \[error\] {os.getpid()}#0: \*7 auth http server 127\.0\.0\.1:\d+ did not send server "
        rf'or port while in http auth state, client: 127\.0\.0\.1, server: {NAME}, login: "user"\n'
    )
    assert re.fullmatch(connected + failed, info)
    assert re.fullmatch(failed, error)


def test_long_lines_are_cut() -> None:
    log = os.memfd_create("log")
    with Rig(log=[(log, 7)], client_buffer=8192) as rig:
        client = rig.client()
        client.send(b"a LOGIN " + b"u" * 4000 + b" pass\r\n")
        rig.asked().send(b"Auth-Status: no\r\n\r\n")
        assert client.rest() == b"a NO no\r\n"
        rig.quiet()
    lines = os.pread(log, 100_000, 0).splitlines(keepends=True)
    os.close(log)
    assert [len(line) for line in lines[1:]] == [2048]
    assert lines[1].endswith(b"u\n")


def test_passwords_are_never_logged() -> None:
    """At level debug, in every failure that has seen one."""
    secret = b"s3cret"
    says = [
        b"a LOGIN user " + secret + b"\r\n",
        b"a LOGIN user " + secret + b" x\r\n",
        b"a LOGIN user " + secret + b" x y z\r\n",
        b'a LOGIN user "' + secret + b"\r\n",
        b"a LOGIN user " + secret * 1000 + b"\r\n",
        b"a AUTHENTICATE PLAIN\r\n" + secret + b"!\r\n",
        b"a AUTHENTICATE PLAIN " + secret + b"!\r\n",
        b"a AUTHENTICATE PLAIN\r\n" + secret * 1000,
        b"a LOGIN {4+}\r\nuser {6+}\r\n" + secret + b"x\r\n",
        b"a LOGIN {4+}\r\nuser {9000+}\r\n" + secret * 1500,
    ]
    log = os.memfd_create("log")
    with Rig(log=[(log, 8)], auth_http_timeout=100) as rig:  # the auth server is silent
        for said in says:
            client = rig.client()
            client.send(said)
            client.shut()
            client.rest()
        rig.quiet()
    text = os.pread(log, 1_000_000, 0)
    os.close(log)
    assert text.count(b"\n") > len(says)
    assert secret not in text
