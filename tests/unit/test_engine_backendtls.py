"""TLS towards backends, played by hand: they cut, lie and say things in clear."""

import contextlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.certificate import Certificate
from support.engine import TIMEOUT, Peer, Rig, suffix, until
from support.keyupdate import HANDSHAKE, KeyUpdates
from support.pki import PKI, Authority
from support.ports import reserve

from fastmail._speedups import TLSContext

PROTOCOLS = ("imap", "pop3", "smtp")
INTERNAL = {
    "imap": b"x NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error\r\n",
    "pop3": b"-ERR internal server error\r\n",
    "smtp": b"451 4.3.2 Internal server error\r\n",
}
GREETING = {"imap": b"* OK hi\r\n", "pop3": b"+OK hi\r\n", "smtp": b"220 hi\r\n"}

ASK = {"imap": b"a CAPABILITY\r\n", "pop3": b"CAPA\r\n", "smtp": b"EHLO mail.test\r\n"}
OFFER = {
    "imap": b"* CAPABILITY IMAP4rev1 STARTTLS\r\na OK done\r\n",
    "pop3": b"+OK\r\nUSER\r\nSTLS\r\n.\r\n",
    "smtp": b"250-hi\r\n250-SIZE\r\n250 STARTTLS\r\n",
}
NO_OFFER = {
    "imap": b"* CAPABILITY IMAP4rev1 XSTARTTLS\r\na OK STARTTLS\r\n",
    "pop3": b"+OK STLS\r\nSTLSX\r\n.\r\n",
    "smtp": b"250-STARTTLS\r\n250-XSTARTTLS\r\n250 SIZE\r\n",
}
START = {"imap": b"a STARTTLS\r\n", "pop3": b"STLS\r\n", "smtp": b"STARTTLS\r\n"}
GO = {"imap": b"a OK go\r\n", "pop3": b"+OK go\r\n", "smtp": b"220 go\r\n"}
FIRST = {"imap": b'x LOGIN "user" "pass"\r\n', "pop3": b"USER user\r\n", "smtp": b"EHLO mail.test\r\n"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@contextmanager
def rig(certificate: Certificate, protocol: str = "imap", **options: Any) -> Iterator[Rig]:
    context = TLSContext()
    context.verify_server(1)
    context.trusted_certificate(os.fsencode(certificate.path))
    settings: dict[str, Any] = {"proxy_tls": context, "proxy_ssl_verify": True, "protocol": protocol}
    with Rig(**(settings | options)) as made:
        yield made


def login(rig: Rig, protocol: str) -> tuple[Peer, Peer]:
    """A client whose login has been accepted, and the backend that it goes to."""
    client = rig.client()
    if protocol == "imap":
        client.send(b"x LOGIN user pass\r\n")
    elif protocol == "pop3":
        client.send(b"USER user\r\nPASS pass\r\n")
        client.line()
    else:
        client.send(b"EHLO me\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\n")
        client.until(b"250 AUTH PLAIN\r\n")
    rig.asked().send(rig.accepting())
    return client, rig.connected()


def secure(peer: Peer, certificate: Certificate) -> None:
    peer.socket = certificate.server_context().wrap_socket(peer.socket, server_side=True)


def up_to_start(backend: Peer, protocol: str) -> None:
    backend.send(GREETING[protocol])
    assert backend.line() == ASK[protocol]
    backend.send(OFFER[protocol])
    assert backend.line() == START[protocol]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("starttls", [False, True])
def test_login(certificate: Certificate, protocol: str, starttls: bool) -> None:
    with rig(certificate, protocol, proxy_ssl_starttls=starttls) as made:
        client, backend = login(made, protocol)
        if starttls:
            up_to_start(backend, protocol)
            backend.send(GO[protocol])
        secure(backend, certificate)
        if not starttls:
            backend.send(GREETING[protocol])
        assert backend.line() == FIRST[protocol]
        if protocol == "imap":
            backend.send(b"x OK in\r\n")
            assert client.line() == b"x OK in\r\n"
            backend.send(b"* " + b"x" * 100_000 + b"\r\n")
            assert len(client.line()) == 100_004
            client.send(b"y " + b"z" * 100_000 + b"\r\n")
            assert len(backend.line()) == 100_004
            backend.socket.unwrap().close()  # type: ignore[attr-defined]
            assert client.rest() == b""
        assert made.engine.stats()["backend_handshakes"] == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a3_an_offer_taken_away_is_no_login(certificate: Certificate, protocol: str) -> None:
    with rig(certificate, protocol, proxy_ssl_starttls=True) as made:
        client, backend = login(made, protocol)
        backend.send(GREETING[protocol])
        assert backend.line() == ASK[protocol]
        backend.send(NO_OFFER[protocol])
        assert backend.rest() == b""
        assert client.rest().endswith(INTERNAL[protocol])
        until(lambda: any("upstream does not offer STARTTLS while" in line for line in made.log()))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("relaying", [False, True])
def test_backend_that_goes_without_a_word(certificate: Certificate, relaying: bool, reset: bool) -> None:
    """No close_notify: what it has said before is passed on, and the client hears of the end."""
    with rig(certificate) as made:
        client, backend = login(made, "imap")
        secure(backend, certificate)
        backend.send(GREETING["imap"])
        assert backend.line() == FIRST["imap"]
        if relaying:
            backend.send(b"x OK in\r\n")
            assert client.line() == b"x OK in\r\n"
            backend.send(b"* BYE\r\n")
            assert client.line() == b"* BYE\r\n"
        backend.close(reset=reset)
        assert client.rest() == (b"" if relaying else INTERNAL["imap"])
        made.quiet()


def test_client_resets_while_its_backend_does_not_read(certificate: Certificate) -> None:
    with rig(certificate) as made:
        client, backend = login(made, "imap")
        secure(backend, certificate)
        backend.send(GREETING["imap"])
        backend.line()
        backend.send(b"x OK in\r\n")
        client.line()
        made.stuff(client, backend)
        client.close(reset=True)
        made.quiet()
        action = "while proxying and reading from client"
        made.logged(f"[info] recv() failed (104: Connection reset by peer) {action}{suffix()}")


REFUSALS = {"imap": b"x OK logged in\r\n", "pop3": b"-ERR not now\r\n", "smtp": b"454 4.7.0 not now\r\n"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("passed", [True, False])
def test_a3_a_refusal_in_clear_is_not_handed_on(
    certificate: Certificate, protocol: str, passed: bool
) -> None:
    """Not even with proxy_pass_error_message: whoever said it, the client would take it for our word."""
    with rig(certificate, protocol, proxy_ssl_starttls=True, proxy_pass_error_message=passed) as made:
        client, backend = login(made, protocol)
        up_to_start(backend, protocol)
        backend.send(REFUSALS[protocol])
        assert backend.rest() == b""
        assert client.rest() == INTERNAL[protocol]
        refusal = REFUSALS[protocol].decode().rstrip()
        until(
            lambda: any(f'upstream sent invalid response: "{refusal}" while' in line for line in made.log())
        )


UNAVAILABLE = {
    "imap": b"* BYE [UNAVAILABLE] down",
    "pop3": b"-ERR [SYS/TEMP] down",
    "smtp": b"421 4.3.2 down",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_backend_that_ends_the_login_before_tls(certificate: Certificate, protocol: str) -> None:
    """What it says instead of its capabilities is in the log; the client gets our own words."""
    with rig(certificate, protocol, proxy_ssl_starttls=True, proxy_pass_error_message=True) as made:
        client, backend = login(made, protocol)
        backend.send(GREETING[protocol])
        assert backend.line() == ASK[protocol]
        backend.send(UNAVAILABLE[protocol] + b"\r\n")
        assert backend.rest() == b""
        assert client.rest() == INTERNAL[protocol]
        words = UNAVAILABLE[protocol].decode()
        until(lambda: any(f'upstream sent invalid response: "{words}" while' in line for line in made.log()))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a3_a23_words_in_clear_behind_the_reply(certificate: Certificate, protocol: str) -> None:
    with rig(certificate, protocol, proxy_ssl_starttls=True) as made:
        client, backend = login(made, protocol)
        up_to_start(backend, protocol)
        backend.send(GO[protocol] + b"x OK injected\r\n")
        assert backend.rest() == b""
        assert client.rest().endswith(INTERNAL[protocol])
        until(lambda: any("sent data in clear behind its reply to STARTTLS" in line for line in made.log()))


@pytest.mark.parametrize(
    ("words", "starttls"),
    [
        (b"* PREAUTH welcome\r\n", True),
        (b"* PREAUTH welcome\r\n", False),
        (b"* OK in clear\r\nx OK in\r\n", False),
    ],
)
def test_a3_a4_a23_greeting_in_clear(certificate: Certificate, words: bytes, starttls: bool) -> None:
    """PREAUTH would do without STARTTLS; with TLS from the first byte, no word in clear counts."""
    with rig(certificate, proxy_ssl_starttls=starttls) as made:
        client, backend = login(made, "imap")
        backend.send(words)
        backend.shut()
        assert b"pass" not in backend.rest()
        assert client.rest() == INTERNAL["imap"]


@pytest.mark.parametrize(
    ("name", "words"),
    [(b"other.test", 'does not match "other.test"'), (b"10.0.0.1", 'does not match "10.0.0.1"')],
)
def test_wrong_name(certificate: Certificate, name: bytes, words: str) -> None:
    with rig(certificate, proxy_ssl_name=name) as made:
        client, backend = login(made, "imap")
        secure(backend, certificate)
        assert client.rest() == INTERNAL["imap"]
        until(lambda: any(words in line for line in made.log()))


@pytest.mark.parametrize(
    ("family", "name", "words"),
    [
        (socket.AF_INET6, "::1", ""),
        (socket.AF_INET6, "2001:db8::1", 'does not match "::1"'),
        (socket.AF_UNIX, "localhost", ""),
        (socket.AF_UNIX, "auth.test", 'does not match "localhost"'),
    ],
)
def test_name_of_an_address(tmp_path: Path, family: socket.AddressFamily, name: str, words: str) -> None:
    """Where proxy_ssl_name does not say whom to expect."""
    pki = PKI(tmp_path / "pki")
    files = pki.ca.issue("mail.test", names=[name])
    context = TLSContext()
    context.verify_server(1)
    context.trusted_certificate(os.fsencode(pki.ca.path))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    directory = tmp_path if family == socket.AF_UNIX else None
    with Rig(family=family, directory=directory, proxy_tls=context, proxy_ssl_verify=True) as made:
        client, backend = login(made, "imap")
        backend.socket = server.wrap_socket(backend.socket, server_side=True)
        if words:
            assert client.rest() == INTERNAL["imap"]
            until(lambda: any(words in line for line in made.log()))
        else:
            backend.send(GREETING["imap"])
            assert backend.line() == FIRST["imap"]


@pytest.mark.parametrize("name", [b"", b"auth.test", b"127.0.0.1"])
@pytest.mark.directive("proxy_ssl_server_name")
def test_server_name(certificate: Certificate, name: bytes) -> None:
    """SNI is for names, not for addresses (RFC 6066 section 3)."""
    with rig(certificate, proxy_ssl_name=name, proxy_ssl_server_name=True) as made:
        _, backend = login(made, "imap")
        names: list[str | None] = []
        context = certificate.server_context()
        context.sni_callback = lambda _, given, __: names.append(given)
        backend.socket = context.wrap_socket(backend.socket, server_side=True)
        backend.send(GREETING["imap"])
        assert backend.line() == FIRST["imap"]
        assert names == ["auth.test" if name == b"auth.test" else None]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.directive("proxy_ssl_session_reuse")
def test_resumption(certificate: Certificate, version: ssl.TLSVersion, reuse: bool) -> None:
    with rig(certificate, proxy_ssl_session_reuse=reuse) as made:
        context = certificate.server_context()
        context.minimum_version = context.maximum_version = version
        for _ in range(4):
            client, backend = login(made, "imap")
            backend.socket = context.wrap_socket(backend.socket, server_side=True)
            backend.send(GREETING["imap"])
            assert backend.line() == FIRST["imap"]
            backend.send(b"x OK in\r\n")
            assert client.line() == b"x OK in\r\n"
            client.close()
            backend.rest()
        stats = made.engine.stats()
        assert (stats["backend_handshakes"], stats["backend_resumed"]) == (4, 3 if reuse else 0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_of_a_bad_certificate_is_not_resumed(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """It would carry the verdict on, when the backend has a good certificate already."""
    pki = PKI(tmp_path / "pki")
    old = pki.ca.issue("mail.test", names=["127.0.0.1"], days=(-9, -2), file="old")
    context = TLSContext()
    context.verify_server(1)
    context.trusted_certificate(os.fsencode(pki.ca.path))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = server.maximum_version = version
    with Rig(proxy_tls=context, proxy_ssl_verify=True) as made:
        server.load_cert_chain(old.certificate, old.key)
        client, backend = login(made, "imap")
        backend.socket = server.wrap_socket(backend.socket, server_side=True)
        assert client.rest() == INTERNAL["imap"]
        until(lambda: any("certificate has expired" in line for line in made.log()))
        server.load_cert_chain(pki.server.certificate, pki.server.key)
        _, backend = login(made, "imap")
        backend.socket = server.wrap_socket(backend.socket, server_side=True)
        backend.send(GREETING["imap"])
        assert backend.line() == FIRST["imap"]


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("good", ""),
        ("expired", "10:certificate has expired"),
        ("early", "9:certificate is not yet valid"),
        ("revoked", "23:certificate revoked"),
        ("other", "21:unable to verify the first certificate"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_certificates(tmp_path: Path, version: ssl.TLSVersion, which: str, words: str) -> None:
    pki = PKI(tmp_path / "pki")
    issuer = pki.other_ca if which == "other" else pki.ca
    days = {"expired": (-9, -2), "early": (2, 9)}.get(which, (-1, 30))
    files = issuer.issue("mail.test", names=["127.0.0.1"], days=days, file=which)
    if which == "revoked":
        pki.ca.revoke(files)
    context = TLSContext()
    context.verify_server(1)
    context.trusted_certificate(os.fsencode(pki.ca.path))
    context.crl(os.fsencode(pki.crl))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = server.maximum_version = version
    server.load_cert_chain(files.certificate, files.key)
    with Rig(proxy_tls=context, proxy_ssl_verify=True) as made:
        client, backend = login(made, "imap")
        backend.socket = server.wrap_socket(backend.socket, server_side=True)
        if which == "good":
            backend.send(GREETING["imap"])
            assert backend.line() == FIRST["imap"]
            return
        assert backend.rest() == b""
        assert client.rest() == INTERNAL["imap"]
        until(
            lambda: any(f'error: ({words}) for "127.0.0.1", it is of "/C=US' in line for line in made.log())
        )


def test_which_certificate_of_the_chain_is_bad(tmp_path: Path) -> None:
    pki = PKI(tmp_path / "pki")
    late = Authority(pki.directory, "late", pki.ca, days=(-9, -2))
    files = late.issue("mail.test", names=["127.0.0.1"], chain=[late], file="of-late")
    context = TLSContext()
    context.verify_server(3)
    context.trusted_certificate(os.fsencode(pki.ca.path))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    with Rig(proxy_tls=context, proxy_ssl_verify=True) as made:
        client, backend = login(made, "imap")
        backend.socket = server.wrap_socket(backend.socket, server_side=True)
        assert client.rest() == INTERNAL["imap"]
        made.logged(
            '[error] upstream SSL certificate verify error: (10:certificate has expired) for "127.0.0.1", '
            'it is of "/C=US/O=Ex, Inc/CN=mail.test", the fault is in that of "/C=US/O=Ex, Inc/CN=late" '
            f"while SSL handshaking to upstream{suffix()}"
        )


def test_backend_that_asks_for_another_handshake(certificate: Certificate) -> None:
    """Renegotiation (TLS 1.2) is refused on this side, too; OpenSSL's own server ends the connection then."""
    port = reserve()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-tls1_2", "-crlf",
               "-cert", str(certificate.path), "-key", str(certificate.key)]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    ) as server:
        assert server.stdin and server.stdout

        def printed(words: bytes) -> None:
            assert server.stdout
            while words not in (line := server.stdout.readline()):
                assert line

        printed(b"ACCEPT")
        with rig(certificate) as made:
            client = made.client()
            client.send(b"x LOGIN user pass\r\n")
            made.asked().send(
                b"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: %d\r\n\r\n"
                % port
            )
            server.stdin.write(b"* OK hi\n")
            printed(b"LOGIN")
            server.stdin.write(b"x OK in\n")
            assert client.line() == b"x OK in\r\n"
            server.stdin.write(b"r\n")
            printed(b"no renegotiation")
            server.kill()
            assert client.rest() == b""


def flight(certificate: Certificate) -> bytes:
    """What a server says first, to be cut anywhere."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_in, client_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=certificate.path).wrap_bio(
        client_in, client_out, server_hostname="auth.test"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(client_out.read())
    server = certificate.server_context().wrap_bio(incoming, outgoing, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("reset", [False, True])
def test_handshake_cut_anywhere(certificate: Certificate, reset: bool) -> None:
    data = flight(certificate)
    with rig(certificate) as made:
        for size in [0, 1, 4, 5, 6, 50, len(data) // 2, len(data) - 1]:
            client, backend = login(made, "imap")
            backend.read(5)
            backend.send(data[:size])
            backend.close(reset=reset)
            assert client.rest() == INTERNAL["imap"]
        made.quiet()


@pytest.mark.parametrize("said", [0, 1, -1], ids=["nothing", "a byte", "all but a byte"])
def test_handshake_that_does_not_end(certificate: Certificate, said: int) -> None:
    """``timeout`` is for the whole of it: bytes that drip in do not renew it."""
    data = flight(certificate)
    with rig(certificate, timeout=TIMEOUT) as made:
        client, backend = login(made, "imap")
        dripping = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                for byte in data[:said]:
                    backend.send(bytes([byte]))
                    if dripping.wait(0.05):
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        assert client.rest() == INTERNAL["imap"]
        dripping.set()
        thread.join()
        until(
            lambda: any(
                "upstream timed out (110: Connection timed out) while SSL handshaking to upstream" in line
                for line in made.log()
            )
        )


def test_refused_connection(certificate: Certificate) -> None:
    with rig(certificate) as made:
        made.backend.refuse()
        client, auth = made.ask(b"x LOGIN user pass\r\n")
        auth.send(made.accepting())
        assert client.rest() == INTERNAL["imap"]
        until(lambda: any("recv() failed (111: Connection refused)" in line for line in made.log()))


def test_proxy_header_comes_first_and_in_clear(certificate: Certificate) -> None:
    with rig(certificate, proxy_protocol=1) as made:
        _, backend = login(made, "imap")
        assert backend.line().startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
        assert backend.read(2) == b"\x16\x03"  # a handshake record


# --- what makes us work and says nothing ---------------------------------------------------------

TICKET = b"\4\0\0\x15" + b"\0\0\x0e\x10" + bytes(4) + b"\1\0" + b"\0\7ticket1" + b"\0\0"
"""A NewSessionTicket (RFC 8446 section 4.6.1)."""
EXCESS = "[error] peer sent too many TLS messages without data"


@contextmanager
def speaking(
    certificate: Certificate, directory: Path, **options: Any
) -> Iterator[tuple[Rig, Peer, Peer, KeyUpdates]]:
    """A rig, a client, and a backend in whose name records can be sent."""
    context = certificate.server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.keylog_filename = str(directory / "keylog")
    with rig(certificate, **options) as made:
        client, backend = login(made, "imap")
        backend.socket = context.wrap_socket(backend.socket, server_side=True)
        yield made, client, backend, KeyUpdates(backend.socket, directory / "keylog")


def test_key_updates_of_a_backend_before_login(certificate: Certificate, tmp_path: Path) -> None:
    with speaking(certificate, tmp_path) as (made, client, backend, said):
        said.send(60, GREETING["imap"])
        assert backend.line() == FIRST["imap"]
        said.send(20_000, b"x OK in\r\n")
        assert client.rest() == INTERNAL["imap"]
        made.logged(f"{EXCESS} while reading response from upstream{suffix()}")
        made.quiet()


def test_key_updates_of_a_backend_in_the_relay(certificate: Certificate, tmp_path: Path) -> None:
    with speaking(certificate, tmp_path) as (_, client, backend, said):
        said.send(0, GREETING["imap"])
        assert backend.line() == FIRST["imap"]
        said.send(0, b"x OK in\r\n")
        assert client.line() == b"x OK in\r\n"
        said.send(20_000, b"* OK still here\r\n")
        assert client.line() == b"* OK still here\r\n"


@pytest.mark.parametrize("relayed", [False, True])
def test_session_tickets_without_end(certificate: Certificate, tmp_path: Path, relayed: bool) -> None:
    """One record holds hundreds; each is a session to keep."""
    with speaking(certificate, tmp_path) as (made, client, backend, said):
        said.send(0, GREETING["imap"])
        assert backend.line() == FIRST["imap"]
        if relayed:
            said.send(0, b"x OK in\r\n")
            assert client.line() == b"x OK in\r\n"
        said.write(said.record(TICKET * 10, HANDSHAKE))  # some servers send a few
        said.write(said.record(TICKET * 500, HANDSHAKE))
        assert client.rest() == (b"" if relayed else INTERNAL["imap"])
        action = "proxying and reading from upstream" if relayed else "reading response from upstream"
        made.logged(f"{EXCESS} while {action}{suffix()}")
        made.quiet()


@pytest.mark.parametrize("record", [b"\x16\3\3\x40\0" + bytes(0x4000), b"\x16\3\3\0\4" + bytes(4)])
def test_hello_requests_instead_of_a_certificate(certificate: Certificate, record: bytes) -> None:
    """In a handshake they are to be ignored (RFC 5246 section 7.4.1.1), but not without end."""
    with rig(certificate) as made:
        client, backend = login(made, "imap")
        with contextlib.suppress(OSError):
            for _ in range(1000):
                backend.send(record * (0x100000 // len(record)))
        assert client.rest() == INTERNAL["imap"]
        made.all_logged(
            f"[error] peer sent too many bytes in SSL handshake while SSL handshaking to upstream{suffix()}"
        )
        made.quiet()


def test_hello_requests_are_ignored(certificate: Certificate) -> None:
    with rig(certificate) as made:
        _, backend = login(made, "imap")
        backend.send((b"\x16\3\3\0\4" + bytes(4)) * 1000)
        secure(backend, certificate)
        backend.send(GREETING["imap"])
        assert backend.line() == FIRST["imap"]
