"""proxy_preconnect: a connection to the backend that the user had last, while the auth server thinks."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.certificate import Certificate
from support.engine import INTERNAL, TIMEOUT, HeldRig, Peer, Port, Rig, let_in, ready, suffix, until
from support.listener import PATIENCE

from fastmail._speedups import EVENT_AUTH, SharedCache, TLSContext

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
    login = f"[info] client logged in{suffix()}"
    rig.all_logged(login, f"[info] proxied session done{suffix()}", login)


def test_the_greeting_may_come_later_than_the_answer(rig: Rig) -> None:
    client, auth, backend = guessed(rig)
    auth.send(rig.accepting())
    let_in(client, backend)


def test_a_wrong_guess_is_dropped_unused(rig: Rig, other: Port) -> None:
    client, auth, backend = guessed(rig)
    backend.send(b"* OK hi\r\n")
    auth.send(naming(other))
    assert backend.rest() == b""
    right = other.accept()
    let_in(client, right)
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
    let_in(client, again)


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
        let_in(client, backend)
        client.close()
        assert backend.rest() == b""
        rig.quiet()
        client, auth, backend = guessed(rig)
        assert backend.silent()
        auth.send(rig.accepting())
        assert backend.line().startswith(b"PROXY TCP")
        let_in(client, backend)


def test_the_last_connection_is_the_auth_servers() -> None:
    """worker_connections: two of the engine's own, a session's two, and a client and its question."""
    with Rig(proxy_preconnect=True, engine={"worker_connections": 6}) as rig:
        relay, backend = rig.relay()
        client, auth = rig.ask()
        assert not rig.backend.waiting()
        auth.send(rig.accepting())
        guess = rig.connected()
        let_in(client, guess)
        relay.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"


# --- what else a session may do meanwhile --------------------------------------------------------


def test_a_backend_on_a_unix_socket_is_no_guess_and_ends_the_old_one(rig: Rig, tmp_path: Path) -> None:
    local = Port(socket.AF_UNIX, str(tmp_path / "backend"))
    client, auth, backend = guessed(rig)
    auth.send(naming(local))
    assert backend.rest() == b""
    right = local.accept()
    let_in(client, right)
    client.close()
    assert right.rest() == b""
    right.close()
    rig.quiet()
    _, auth = rig.ask()
    assert not rig.backend.waiting()
    assert not local.waiting()
    auth.send(NO % b"")
    local.socket.close()


def test_mail_without_a_login_is_not_the_last_users(other: Port) -> None:
    """The session's refused login was another's."""
    say = b"EHLO me\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\n"
    with Rig(proxy_preconnect=True, protocol="smtp", auth=["plain", "none"], xclient=False) as rig:
        client, auth = rig.ask(say)
        auth.send(rig.accepting())
        backend = rig.connected()
        backend.send(b"220 hi\r\n250 hi\r\n")
        client.until(b"235 2.0.0 OK\r\n")
        client.close()
        backend.close()
        rig.quiet()
        client, auth = rig.ask(say)
        assert rig.connected().silent()
        auth.send(NO % b"Auth-Wait: 1\r\n")
        client.until(b"535 5.7.0 no\r\n")
        client.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
        rig.asked().send(naming(other))
        right = other.accept()
        right.send(b"220 hi\r\n250 hi\r\n250 ok\r\n250 rcpt\r\n")
        client.until(b"250 rcpt\r\n")
        client.close()
        right.close()
        rig.quiet()
        rig.ask(say)
        rig.connected()
        assert not other.waiting()


def test_an_answer_that_is_kept_needs_no_guess() -> None:
    kept = (SharedCache(bytearray(65536)), 60_000, 60_000)
    with Rig(proxy_preconnect=True, auth_http_cache=kept) as rig:
        known(rig)
        client = rig.client()
        client.send(LOGIN)
        backend = rig.connected()
        let_in(client, backend)
        assert not rig.backend.waiting()
        assert not rig.auth.waiting()


def asked_python(rig: Rig) -> tuple[Peer, int]:
    """A client, and the handle that Python has been asked about."""
    client = rig.client()
    client.send(LOGIN)
    assert ready(rig.engine.event_fileno(), PATIENCE)
    ((kind, handle, _),) = rig.engine.events()
    assert kind == EVENT_AUTH
    return client, handle


def test_while_python_asks() -> None:
    with Rig(proxy_preconnect=True, auth_http_transport="aiohttp") as rig:
        for guess in (False, True, True):
            client, handle = asked_python(rig)
            early = rig.connected() if guess else None
            rig.engine.auth_answered(handle, rig.accepting())
            backend = early or rig.connected()
            let_in(client, backend)
            client.close()
            rig.quiet()
        client, handle = asked_python(rig)
        backend = rig.connected()
        rig.engine.auth_failed(handle, 0)
        assert backend.rest() == b""
        assert client.rest() == INTERNAL
        rig.quiet()


def test_the_auth_server_never_answers() -> None:
    with Rig(proxy_preconnect=True, auth_http_timeout=TIMEOUT) as rig:
        known(rig)
        client, auth, backend = guessed(rig)
        assert backend.rest() == b""
        assert auth.rest() == b""
        assert client.rest() == INTERNAL
        rig.quiet()


def test_asked_once_more_it_is_not_made_again() -> None:
    """A kept auth connection that breaks under the request."""
    with Rig(proxy_preconnect=True, auth_http_keepalive=1) as rig:
        client, auth = rig.ask()
        auth.send(rig.accepting("Content-Length: 0", head="HTTP/1.1 200 OK"))
        backend = rig.connected()
        let_in(client, backend)
        client.close()
        assert backend.rest() == b""
        rig.quiet()
        client = rig.client()
        client.send(LOGIN)
        backend = rig.connected()
        auth.until(b"\r\n\r\n")
        auth.close()
        auth = rig.asked()
        auth.send(rig.accepting())
        let_in(client, backend)
        assert not rig.backend.waiting()


@pytest.mark.parametrize("cut", [False, True])
def test_a_worker_that_ends_waits_for_it(cut: bool) -> None:
    with Rig(proxy_preconnect=True) as rig:
        known(rig)
        client, auth, backend = guessed(rig)
        rig.engine.shutdown()
        if cut:
            rig.engine.cut_relays()
        auth.send(rig.accepting())
        let_in(client, backend)
        if not cut:
            client.close()
        assert backend.rest() == b""
        rig.ended()


@pytest.mark.parametrize("source", ["127.0.0.9", "203.0.113.1"])
def test_from_the_address_of_proxy_bind(source: str) -> None:
    """One that we do not have fails the login, and says so once."""
    bound = [((socket.AF_INET, (source, 0)), source.encode())]
    with Rig(proxy_preconnect=True, proxy_bind=bound) as rig:
        if source == "203.0.113.1":
            client, auth = rig.ask()
            auth.send(rig.accepting())
            assert client.rest() == INTERNAL
            return
        known(rig)
        client, auth, backend = guessed(rig)
        assert backend.socket.getpeername()[0] == source
        auth.send(rig.accepting())
        let_in(client, backend)


def test_a_backend_that_is_gone_is_told_of_once(rig: Rig) -> None:
    rig.backend.refuse()
    client, auth = rig.ask()
    auth.send(rig.accepting())
    assert client.rest() == INTERNAL
    rig.quiet()
    why = "recv() failed (111: Connection refused) while reading response from upstream"
    rig.all_logged(f"[error] {why}{suffix()}", since=2)  # behind known()'s


# --- in one batch of events ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


def tls_options(certificate: Certificate, starttls: bool = False) -> dict[str, Any]:
    context = TLSContext()
    context.verify_server(1)
    context.trusted_certificate(os.fsencode(certificate.path))
    return {"proxy_tls": context, "proxy_ssl_verify": True, "proxy_ssl_starttls": starttls}


WAYS = ["plain", "header 1", "header 2", "only tls", "starttls", "header and tls"]


def options(way: str, certificate: Certificate) -> dict[str, Any]:
    said: dict[str, Any] = tls_options(certificate, way == "starttls") if "tls" in way else {}
    if "header" in way:
        said["proxy_protocol"] = 2 if way == "header 2" else 1
    return said


def serve(backend: Peer, way: str, certificate: Certificate, client: Peer) -> None:
    """As a backend does that is spoken to in this way."""
    if way == "header 2":
        assert backend.read(12) == b"\r\n\r\n\0\r\nQUIT\n"
        backend.read(2)
        backend.read(int.from_bytes(backend.read(2)))
    elif "header" in way:
        header = b""
        while not header.endswith(b"\r\n"):
            header += backend.socket.recv(1)  # and not what comes behind it, which may be TLS
        assert header.startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
    if way == "starttls":
        backend.send(b"* OK hi\r\n")
        assert backend.line() == b"a CAPABILITY\r\n"
        backend.send(b"* CAPABILITY IMAP4rev1 STARTTLS\r\na OK\r\n")
        assert backend.line() == b"a STARTTLS\r\n"
        backend.send(b"a OK go\r\n")
    if "tls" in way:
        backend.socket = certificate.server_context().wrap_socket(backend.socket, server_side=True)
    if way != "starttls":
        backend.send(b"* OK hi\r\n")
    logged_in(client, backend)


def known_in(rig: Rig, way: str, certificate: Certificate) -> None:
    client, backend = rig.backend_login()
    serve(backend, way, certificate, client)
    client.close(reset=True)
    until(lambda: rig.stat("sessions") == 0)
    backend.close()
    rig.quiet()


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_said_before_the_answer(way: str, certificate: Certificate) -> None:
    """No PROXY header and no handshake either."""
    with HeldRig(proxy_preconnect=True, **options(way, certificate)) as rig:
        known_in(rig, way, certificate)
        client, auth, backend = guessed(rig)
        with rig.held():
            assert backend.silent()
        auth.send(rig.accepting())
        serve(backend, way, certificate, client)
        assert not rig.backend.waiting()


CLOSE_NOTIFY = b"\x15\x03\x03\0\x02\x01\0"


def ended_as_the_answer_comes(rig: HeldRig, way: str, end: str) -> Peer:
    """The client whose guessed connection the backend ends in the same batch of events."""
    client, auth, backend = guessed(rig)
    with rig.held():
        if end == "says so":
            backend.send(CLOSE_NOTIFY if way.endswith(" tls") else b"* OK hi\r\n* BYE for saying nothing\r\n")
        backend.close(reset=end == "resets")
        auth.send(rig.accepting())
    return client


@pytest.mark.parametrize("end", ["closes", "resets", "says so"])
@pytest.mark.parametrize("way", WAYS)
def test_a_backend_that_ends_it_as_the_answer_comes(way: str, end: str, certificate: Certificate) -> None:
    with HeldRig(proxy_preconnect=True, **options(way, certificate)) as rig:
        known_in(rig, way, certificate)
        client = ended_as_the_answer_comes(rig, way, end)
        serve(rig.connected(), way, certificate, client)
        assert not [line for line in rig.log() if line.startswith("[error]")]


@pytest.mark.parametrize("end", ["closes", "resets", "says so"])
@pytest.mark.parametrize("way", WAYS)
def test_and_once_more_is_the_end(way: str, end: str, certificate: Certificate) -> None:
    with HeldRig(proxy_preconnect=True, **options(way, certificate)) as rig:
        known_in(rig, way, certificate)
        client = ended_as_the_answer_comes(rig, way, end)
        rig.connected().close(reset=end == "resets")
        assert client.rest() == INTERNAL
        rig.quiet()
        assert not rig.backend.waiting()


@pytest.mark.parametrize("end", ["greets", "closes", "resets"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_wrong_guess_does_as_the_answer_comes(
    way: str, end: str, certificate: Certificate, other: Port
) -> None:
    """Its events are not those of the right connection."""
    with HeldRig(proxy_preconnect=True, **options(way, certificate)) as rig:
        known_in(rig, way, certificate)
        client, auth, backend = guessed(rig)
        with rig.held():
            if end == "greets":
                backend.send(b"* OK wrong\r\n* BYE wrong\r\n")
            else:
                backend.close(reset=end == "resets")
            auth.send(naming(other))
        right = other.accept()
        serve(right, way, certificate, client)
        right.close()
        assert not rig.backend.waiting()


def test_a_client_that_goes_as_the_answer_comes() -> None:
    with HeldRig(proxy_preconnect=True) as rig:
        known(rig)
        client, auth, backend = guessed(rig)
        with rig.held():
            client.close(reset=True)
            backend.send(b"* OK hi\r\n")
            auth.send(rig.accepting())
        assert backend.line() == ORDER
        backend.send(b"a OK in\r\n")
        assert backend.rest() == b""
        rig.quiet()
