"""proxy_preconnect: a connection to the backend that the user had last, while the auth server thinks."""

import socket
from collections.abc import Iterator

import pytest
from support.engine import Peer, Port, Rig, suffix

LOGIN = b"a LOGIN user pass\r\n"
ORDER = b'a LOGIN "user" "pass"\r\n'
NO = b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\n%s\r\n"

pytestmark = pytest.mark.directive("proxy_preconnect")


def known(rig: Rig) -> None:
    """The user has logged in once."""
    client, backend = rig.relay()
    client.close()
    assert backend.rest() == b""
    rig.quiet()


def guessed(rig: Rig) -> tuple[Peer, Peer, Peer]:
    """The user comes again: client, unanswered auth server, and the connection made meanwhile."""
    client, auth = rig.ask()
    return client, auth, rig.connected()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(proxy_preconnect=True) as made:
        known(made)
        yield made


@pytest.fixture
def other() -> Iterator[Port]:
    port = Port()
    yield port
    port.socket.close()


def naming(port: Port) -> bytes:
    return "\r\n".join(["HTTP/1.0 200 OK", *port.headers, "", ""]).encode()


def logged_in(client: Peer, backend: Peer, order: bytes = ORDER) -> None:
    assert backend.line() == order
    backend.send(b"a OK in\r\n")
    assert client.line() == b"a OK in\r\n"


def test_a_right_guess_saves_the_wait_for_the_greeting(rig: Rig) -> None:
    client, auth, backend = guessed(rig)
    backend.send(b"* OK hi\r\n")
    assert backend.silent()
    auth.send(rig.accepting())
    logged_in(client, backend)
    assert not rig.backend.waiting()
    client.send(b"b NOOP\r\n")
    assert backend.line() == b"b NOOP\r\n"
    assert rig.log()[-1] == f"[info] client logged in{suffix()}"


def test_the_greeting_may_come_later_than_the_answer(rig: Rig) -> None:
    client, auth, backend = guessed(rig)
    auth.send(rig.accepting())
    backend.send(b"* OK hi\r\n")
    logged_in(client, backend)


def test_a_wrong_guess_is_dropped_unused(rig: Rig, other: Port) -> None:
    client, auth, backend = guessed(rig)
    backend.send(b"* OK hi\r\n")
    auth.send(naming(other))
    assert backend.rest() == b""
    right = other.accept()
    right.send(b"* OK hi\r\n")
    logged_in(client, right)
    client.close()
    assert right.rest() == b""
    right.close()
    rig.quiet()
    _, auth = rig.ask()  # and the next guess is the new one
    right = other.accept()
    auth.send(naming(other))
    right.send(b"* OK hi\r\n")
    assert right.line() == ORDER
    right.close()


@pytest.mark.parametrize("wait", [b"", b"Auth-Wait: 1\r\n"])
def test_a_refused_login_ends_it(rig: Rig, wait: bytes) -> None:
    client, auth, backend = guessed(rig)
    auth.send(NO % wait)
    assert backend.rest() == b""
    assert client.line() == b"a NO no\r\n"


def test_asked_again_it_is_made_again(rig: Rig) -> None:
    client, auth, backend = guessed(rig)
    auth.send(NO.replace(b"no", b"WAIT") % b"Auth-Wait: 1\r\n")
    assert backend.rest() == b""
    auth = rig.asked()
    backend = rig.connected()
    backend.send(b"* OK hi\r\n")
    auth.send(rig.accepting())
    logged_in(client, backend)


def test_a_client_that_leaves_ends_it(rig: Rig) -> None:
    _, auth, backend = guessed(rig)
    auth.close()
    assert backend.rest() == b""
    rig.quiet()


@pytest.mark.parametrize("reset", [False, True])
def test_a_backend_that_closes_meanwhile_is_connected_to_anew(rig: Rig, reset: bool) -> None:
    client, auth, backend = guessed(rig)
    backend.close(reset=reset)
    auth.send(rig.accepting())
    again = rig.connected()
    again.send(b"* OK hi\r\n")
    logged_in(client, again)


def test_users_are_kept_apart(rig: Rig) -> None:
    _, auth = rig.ask(b"a LOGIN other pass\r\n")
    assert not rig.backend.waiting()
    auth.send(rig.accepting())
    rig.connected()


def test_a_failed_login_is_not_remembered() -> None:
    with Rig(proxy_preconnect=True) as rig:
        _, backend = rig.backend_login()
        backend.send(b"* OK hi\r\n")
        assert backend.line() == ORDER
        backend.send(b"a NO no\r\n")
        assert backend.rest() == b""
        rig.quiet()
        rig.ask()
        assert not rig.backend.waiting()


def test_off_by_default() -> None:
    with Rig() as rig:
        known(rig)
        rig.ask()
        assert not rig.backend.waiting()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_proxy_header_waits_for_the_answer(family: socket.AddressFamily) -> None:
    with Rig(family=family, proxy_preconnect=True, proxy_protocol=1) as rig:
        client, backend = rig.backend_login()
        assert backend.line().startswith(b"PROXY TCP")
        backend.send(b"* OK hi\r\n")
        logged_in(client, backend)
        client.close()
        assert backend.rest() == b""
        rig.quiet()
        client, auth, backend = guessed(rig)
        assert backend.silent()
        auth.send(rig.accepting())
        assert backend.line().startswith(b"PROXY TCP")
        backend.send(b"* OK hi\r\n")
        logged_in(client, backend)


def test_the_last_connection_is_the_auth_servers() -> None:
    """worker_connections: two of the engine's own, a session's two, and a client and its question."""
    with Rig(proxy_preconnect=True, engine={"worker_connections": 6}) as rig:
        relay, backend = rig.relay()
        client, auth = rig.ask()
        assert not rig.backend.waiting()
        auth.send(rig.accepting())
        guess = rig.connected()
        guess.send(b"* OK hi\r\n")
        logged_in(client, guess)
        relay.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"
