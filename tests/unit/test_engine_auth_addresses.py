"""An auth server with several addresses: each is asked if those before it cannot be connected to."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import INTERNAL, TIMEOUT, Peer, Port, Rig, suffix

LOGIN = b"a LOGIN user pass\r\n"
REJECTED = b"Auth-Status: no way\r\n\r\n"
ASKING = f" while in http auth state{suffix(upstream='')}"
REFUSED = "failed (111: Connection refused)"


@contextlib.contextmanager
def ports(number: int = 2) -> Iterator[list[Port]]:
    found = [Port() for _ in range(number)]
    yield found
    for port in found:
        port.socket.close()


def asked(port: Port) -> Peer:
    """A connection to it, its request read."""
    peer = port.accept()
    peer.request = peer.until(b"\r\n\r\n")
    return peer


def logs_in(rig: Rig, port: Port) -> None:
    """A client whose request comes to that port."""
    client = rig.client()
    client.send(LOGIN)
    auth = asked(port)
    assert auth.request.count(b"Auth-User: user\r\n") == 1
    auth.send(REJECTED)
    assert client.rest() == b"a NO no way\r\n* BYE closing connection\r\n"
    auth.close()


@pytest.mark.directive("auth_http")
def test_refused() -> None:
    """The first is tried again by the next login."""
    with ports(3) as (first, second, third):
        first.refuse()
        second.refuse()
        with Rig(auth_http=[port.address for port in (first, second, third)], level=4) as rig:
            failed = [f"[error] connect() to {port.printed} {REFUSED}{ASKING}" for port in (first, second)]
            logs_in(rig, third)
            rig.all_logged(*failed)
            logs_in(rig, third)
            rig.all_logged(*failed, *failed)
            rig.quiet()


def test_kept_connection_to_the_second() -> None:
    with ports() as (first, second):
        first.refuse()
        with Rig(auth_http=[first.address, second.address], auth_http_keepalive=1, level=4) as rig:
            client = rig.client()
            client.send(LOGIN)
            auth = asked(second)
            for last in (False, True):
                auth.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAuth-Status: no\r\n\r\n")
                assert client.rest() == b"a NO no\r\n* BYE closing connection\r\n"
                if not last:
                    client = rig.client()
                    client.send(LOGIN)
                    auth.until(b"\r\n\r\n")
            rig.all_logged(f"[error] connect() to {first.printed} {REFUSED}{ASKING}")
            auth.close()


def test_fails_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "nobody")
    with ports(1) as (second,), Rig(auth_http=[(socket.AF_UNIX, path), second.address], level=4) as rig:
        logs_in(rig, second)
        rig.all_logged(f"[crit] connect() to unix:{path} failed (2: No such file or directory){ASKING}")


@pytest.mark.directive("auth_http_timeout")
def test_no_connection_in_time() -> None:
    full = Port(backlog=0)
    with ports(1) as (second,), full.socket, socket.create_connection(full.address[1]):
        both = [full.address, second.address]
        with Rig(level=4, auth_http=both, auth_http_timeout=TIMEOUT) as rig:
            logs_in(rig, second)
            late = f"auth http server {full.printed} timed out (110: Connection timed out)"
            rig.all_logged(f"[error] {late}{ASKING}")


def test_none_can_be_connected_to() -> None:
    """The last one fails as the only one would, in nginx's words."""
    with ports() as (first, second):
        first.refuse()
        second.refuse()
        with Rig(auth_http=[first.address, second.address], level=4) as rig:
            client = rig.client()
            client.send(LOGIN)
            assert client.rest() == INTERNAL
            rig.all_logged(
                f"[error] connect() to {first.printed} {REFUSED}{ASKING}",
                f"[error] recv() {REFUSED}{ASKING}",
            )


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.0 200"])
def test_server_that_has_the_request_is_the_only_one(reset: bool, said: bytes) -> None:
    """It may have counted the attempt, or let somebody in."""
    with ports() as (first, second), Rig(auth_http=[first.address, second.address]) as rig:
        client = rig.client()
        client.send(LOGIN)
        auth = asked(first)
        auth.send(said)
        auth.close(reset=reset)
        assert client.rest() == INTERNAL
        assert not second.waiting()


def test_answer_is_waited_for_only_once() -> None:
    with (
        ports() as (first, second),
        Rig(auth_http=[first.address, second.address], auth_http_timeout=TIMEOUT, level=4) as rig,
    ):
        client = rig.client()
        client.send(LOGIN)
        auth = asked(first)
        assert client.rest() == INTERNAL
        assert not second.waiting()
        rig.logged(f"[error] auth http server {first.printed} timed out (110: Connection timed out){ASKING}")
        auth.close()
