"""Auth requests that Python carries for the engine: events out, answers in, by handles that may be stale."""

import random

import pytest
from support.engine import BYE, INTERNAL, TIMEOUT, Peer, Rig, let_in, ready, suffix, until
from support.listener import PATIENCE

from fastmail._speedups import AUTH_CLOSED, AUTH_TIMED_OUT, EVENT_AUTH, Engine

LOGIN = b"a LOGIN user pass\r\n"


def posted(rig: Rig) -> tuple[int, bytes]:
    """The handle and the request of the next EVENT_AUTH."""
    assert ready(rig.engine.event_fileno(), PATIENCE)
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
        let_in(client, backend)
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
        assert client.rest() == b"a NO no\r\n" + BYE


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
        what = 'auth http server AUTH sent invalid header in response: "Auth" while in http auth state'
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
        rig.all_logged(*[f"[error] {logged} while in http auth state{suffix(upstream='')}"] if logged else [])


def test_python_that_does_not_answer() -> None:
    with Rig(auth_http_transport="aiohttp", auth_http_timeout=TIMEOUT) as rig:
        client, handle = asks(rig)
        assert client.rest() == INTERNAL
        rig.engine.auth_answered(handle, rig.accepting())  # late
        client, handle = asks(rig)
        rig.engine.auth_answered(handle, b"Auth-Status: no\r\n\r\n")
        assert client.rest() == b"a NO no\r\n" + BYE
        assert not rig.backend.waiting()


def test_stale_and_foreign_handles_are_ignored() -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, old = asks(rig)
        rig.engine.auth_answered(old, b"Auth-Status: no\r\n\r\n")
        assert client.rest() == b"a NO no\r\n" + BYE
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
        assert client.rest() == b"a NO mine\r\n" + BYE
        assert not rig.backend.waiting()
        assert "not ours" not in "".join(rig.log())


def test_an_answer_given_twice_counts_once() -> None:
    with Rig(auth_http_transport="aiohttp") as rig:
        client, handle = asks(rig)
        rig.engine.auth_answered(handle, rig.accepting())
        rig.engine.auth_answered(handle, rig.accepting())
        rig.engine.auth_failed(handle, AUTH_CLOSED)
        backend = rig.connected()
        let_in(client, backend)
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
