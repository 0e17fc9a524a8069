"""TLS towards clients: each ssl_* directive by what a client, the auth server or the log sees."""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.listener import PATIENCE
from support.pki import PKI, Files
from support.ports import reserve
from support.processes import USER, Site, alive, wait_for

PROTOCOLS = ("imap", "pop3", "smtp")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI(tmp_path_factory.mktemp("pki"))


def trusting(pki: PKI, certificate: Files | None = None, **versions: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=pki.ca.path)
    for name, version in versions.items():
        setattr(context, name, version)
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context


class Door:
    """A fastmail with one TLS listener; ``connect()`` gives a TLS socket."""

    def __init__(self, site: Site, auth: AuthServer, port: int, pki: PKI) -> None:
        self.site, self.auth, self.port, self.pki = site, auth, port, pki

    def open(
        self, more: str = "", *, certificate: str | None = None, protocol: str = "imap", workers: int = 1
    ) -> None:
        if certificate is None:
            server = self.pki.server
            certificate = f"ssl_certificate {server.certificate}; ssl_certificate_key {server.key};"
        self.site.configure(
            f"auth_http 127.0.0.1:{self.auth.port}/auth; server {{ listen 127.0.0.1:{self.port} ssl; "
            f"protocol {protocol}; {certificate} {more} }}",
            workers=workers,
        )
        self.site.start()

    def connect(
        self, context: ssl.SSLContext, name: str | None = "mail.test", session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return context.wrap_socket(raw, server_hostname=name, session=session)

    def greeting(self, context: ssl.SSLContext, name: str = "mail.test") -> bytes:
        with self.connect(context, name) as peer:
            return peer.recv(4096)


@pytest.fixture
def door(site: Site, auth: AuthServer, port: int, pki: PKI) -> Door:
    return Door(site, auth, port, pki)


@pytest.mark.directive("ssl_certificate", "ssl_certificate_key")
def test_login_over_tls(door: Door) -> None:
    door.open()
    with door.connect(trusting(door.pki)) as peer:
        assert peer.version() == "TLSv1.3"
        assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"
        peer.sendall(b"a LOGIN user pass\r\n")
        assert b"OK" in peer.recv(4096)
    request = door.auth.requests[0]
    assert request.headers["auth-ssl"] == "on"
    assert request.headers["auth-ssl-protocol"] == "TLSv1.3"
    assert "auth-ssl-verify" not in request.headers


TALK = {  # STARTTLS, its reply, a login, its reply before TLS if TLS is required
    "imap": (b"a STARTTLS", b"a OK completed", b"b LOGIN user pass", b"b BAD invalid command"),
    "pop3": (b"STLS", b"+OK", b"AUTH PLAIN AHVzZXIAcGFzcw==", b"-ERR invalid command"),
    "smtp": (b"STARTTLS", b"220 2.0.0 Start TLS", b"AUTH PLAIN AHVzZXIAcGFzcw==",
             b"500 5.5.1 Invalid command"),
}  # fmt: skip


@pytest.mark.directive("starttls")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", ["on", "only"])
def test_starttls(site: Site, auth: AuthServer, port: int, pki: PKI, protocol: str, mode: str) -> None:
    site.configure(
        f"auth_http 127.0.0.1:{auth.port}/auth; starttls {mode}; ssl_certificate {pki.server.certificate}; "
        f"ssl_certificate_key {pki.server.key}; server {{ listen 127.0.0.1:{port}; protocol {protocol}; }}"
    )
    site.start()
    start, reply, login, refusal = TALK[protocol]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        plain.recv(4096)
        if mode == "only":
            plain.sendall(login + b"\r\n")
            assert plain.recv(4096) == refusal + b"\r\n"
            assert auth.requests == []
        plain.sendall(start + b"\r\n")
        assert plain.recv(4096) == reply + b"\r\n"
        with trusting(pki).wrap_socket(plain, server_hostname="mail.test") as peer:
            peer.sendall(login + b"\r\n")
            wait_for("auth request", lambda: auth.requests)
    headers = auth.requests[0].headers
    assert (headers["auth-ssl"], headers["auth-user"], headers["auth-pass"]) == ("on", "user", "pass")


@pytest.mark.directive("ssl_certificate", "ssl_certificate_key")
def test_certificates_of_two_types_are_chosen_by_what_the_client_can(door: Door) -> None:
    door.open(
        certificate="".join(
            f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};\n"
            for files in (door.pki.server_rsa, door.pki.server)
        )
    )
    for kind in ("ECDSA", "aRSA"):
        context = trusting(door.pki, maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(kind)
        with door.connect(context) as peer:
            cipher = peer.cipher()
            assert cipher is not None and kind.removeprefix("a") in cipher[0]


def test_certificate_in_the_configuration(door: Door) -> None:
    files = door.pki.server
    door.open(
        certificate=f"ssl_certificate 'data:{files.certificate.read_text()}'; "
        f"ssl_certificate_key 'data:{files.key.read_text()}';"
    )
    assert door.greeting(trusting(door.pki)) == b"* OK IMAP4 ready\r\n"


@pytest.mark.directive("ssl_password_file")
def test_encrypted_key(door: Door, tmp_path: Path) -> None:
    files = door.pki.ca.issue("mail.test", names=["mail.test"], password=b"open sesame", file="encrypted")
    passwords = tmp_path / "passwords"
    passwords.write_text("wrong\nopen sesame\nother\n")
    door.open(
        f"ssl_password_file {passwords};",
        certificate=f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};",
    )
    assert door.greeting(trusting(door.pki)) == b"* OK IMAP4 ready\r\n"


@pytest.mark.parametrize("name", ["one.test", "two.test", "a.wild.test", "ONE.test"])
def test_several_certificates_of_one_type_are_chosen_by_name(door: Door, name: str) -> None:
    issue = door.pki.ca.issue
    lists = [["one.test"], ["two.test"], ["*.wild.test"], ["last.test"]]
    all_files = [issue(names[0].replace("*", "x"), names=names) for names in lists]
    door.open(
        certificate="".join(
            f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};\n" for files in all_files
        )
    )
    assert door.greeting(trusting(door.pki), name) == b"* OK IMAP4 ready\r\n"
    # who names nothing, or nobody, gets the last
    context = trusting(door.pki)
    context.check_hostname = False
    for nobody in (None, "nobody.test", "b.a.wild.test", "wild.test"):
        with door.connect(context, nobody) as peer:
            certificate = peer.getpeercert()
            assert certificate is not None and certificate["subjectAltName"] == (("DNS", "last.test"),)


@pytest.mark.directive("ssl_protocols")
def test_protocols(door: Door) -> None:
    door.open("ssl_protocols TLSv1.2;")
    with door.connect(trusting(door.pki)) as peer:
        assert peer.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        door.connect(trusting(door.pki, minimum_version=ssl.TLSVersion.TLSv1_3))
    line = door.site.wait_log("SSL_do_handshake")
    assert "[info]" in line and "unsupported protocol" in line and "while SSL handshaking, client:" in line


def _cipher(door: Door, ciphers: str) -> str:
    context = trusting(door.pki, maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(ciphers)
    with door.connect(context) as peer:
        cipher = peer.cipher()
        assert cipher is not None
        return cipher[0]


A, B = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.mark.directive("ssl_ciphers")
@pytest.mark.parametrize(("prefer", "cipher"), [("off", A), ("on", B)])
def test_ciphers(door: Door, prefer: str, cipher: str) -> None:
    door.open(f"ssl_ciphers {B}:{A}; ssl_prefer_server_ciphers {prefer};")
    assert _cipher(door, f"{A}:{B}") == cipher
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        _cipher(door, "ECDHE-ECDSA-CHACHA20-POLY1305")


test_ciphers = pytest.mark.directive("ssl_prefer_server_ciphers")(test_ciphers)


def s_client(door: Door, *arguments: str, text: bytes = b"a LOGOUT\r\n") -> str:
    """What OpenSSL's own client prints."""
    result = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-CAfile", door.pki.ca.path,
         *(["-ign_eof"] if text[:1] != b"R" else []), *arguments],
        input=text, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    return (result.stdout + result.stderr).decode("latin-1")


@pytest.mark.directive("ssl_ecdh_curve")
def test_curves(door: Door) -> None:
    door.open("ssl_ecdh_curve secp384r1;")
    assert "Server Temp Key: ECDH, secp384r1, 384 bits" in s_client(door)
    assert "handshake failure" in s_client(door, "-groups", "X25519")


@pytest.mark.directive("ssl_dhparam")
def test_dhparam(door: Door, tmp_path: Path) -> None:
    parameters = tmp_path / "dh.pem"
    numbers = subprocess.run(
        ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"],
        capture_output=True, check=True,
    )  # fmt: skip
    parameters.write_bytes(numbers.stdout)
    rsa = door.pki.server_rsa
    door.open(
        f"ssl_dhparam {parameters};",
        certificate=f"ssl_certificate {rsa.certificate}; ssl_certificate_key {rsa.key};",
    )
    assert _cipher(door, "DHE-RSA-AES128-GCM-SHA256") == "DHE-RSA-AES128-GCM-SHA256"


@pytest.mark.directive("ssl_conf_command")
def test_conf_command(door: Door) -> None:
    door.open("ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256; ssl_conf_command Options KTLS;")
    with door.connect(trusting(door.pki)) as peer:
        assert peer.cipher() == ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", 256)
        assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"
        peer.sendall(b"a LOGIN user pass\r\n")
        assert b"OK" in peer.recv(4096)


@pytest.mark.directive("ssl_certificate_compression")
def test_certificate_compression(door: Door) -> None:
    """Debian's OpenSSL cannot; the handshake goes on without."""
    door.open("ssl_certificate_compression on;")
    assert door.greeting(trusting(door.pki)) == b"* OK IMAP4 ready\r\n"


@pytest.mark.directive("ssl_engine", "ssl_object_cache_inheritable")
def test_engine(site: Site) -> None:
    site.configure(main="ssl_object_cache_inheritable off; ssl_engine dynamic;")
    assert site.run("-t").returncode == 0
    site.configure(main="ssl_engine none-such;")
    result = site.run("-t")
    assert result.returncode == 1
    assert 'ENGINE_by_id("none-such") failed (SSL: error:' in result.stderr


# --- client certificates ---------------------------------------------------------------------------

REFUSED = {
    "imap": (b"* BYE SSL certificate error\r\n", b"* BYE No required SSL certificate\r\n"),
    "pop3": (b"-ERR SSL certificate error\r\n", b"-ERR No required SSL certificate\r\n"),
    "smtp": (b"421 4.7.1 SSL certificate error\r\n", b"421 4.7.1 No required SSL certificate\r\n"),
}


def _client_rules(pki: PKI, mode: str, more: str = "") -> str:
    return f"ssl_verify_client {mode}; ssl_client_certificate {pki.ca.path}; {more}"


BAD = ("client_expired", "client_early", "client_revoked", "client_other", "client_deep")


@pytest.mark.directive("ssl_verify_client", "ssl_client_certificate", "ssl_crl")
@pytest.mark.parametrize("which", ["none", "client", *BAD])
@pytest.mark.parametrize("mode", ["on", "optional", "optional_no_ca"])
def test_client_certificates(door: Door, mode: str, which: str) -> None:
    pki = door.pki
    door.open(_client_rules(pki, mode, f"ssl_crl {pki.crl}; ssl_verify_depth 1;"))
    error, missing = REFUSED["imap"]
    good = which == "client" or (which == "none" and mode != "on")
    good |= which == "client_other" and mode == "optional_no_ca"
    with door.connect(trusting(pki, None if which == "none" else getattr(pki, which))) as peer:
        first = peer.recv(4096)
        if not good:
            assert first == (missing if which == "none" else error)
            assert peer.recv(4096) == b""
            assert door.auth.requests == []
            words = "no required SSL certificate" if which == "none" else "SSL certificate verify error: ("
            assert words in door.site.wait_log("client (sent no|SSL)")
            return
        assert first == b"* OK IMAP4 ready\r\n"
        peer.sendall(b"a LOGIN user pass\r\n")
        peer.recv(4096)
    headers = door.auth.requests[0].headers
    verdict = {
        "none": "NONE",
        "client": "SUCCESS",
        "client_other": "FAILED:unable to verify the first certificate",
    }
    assert headers["auth-ssl-verify"] == verdict[which]
    assert headers.get("auth-ssl-subject") == (None if which == "none" else r"CN=client.test,O=Ex\, Inc,C=US")
    assert "auth-ssl-cert" not in headers


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refusals_of_each_protocol(door: Door, protocol: str) -> None:
    door.open(_client_rules(door.pki, "on"), protocol=protocol)
    error, missing = REFUSED[protocol]
    assert door.greeting(trusting(door.pki)) == missing
    assert door.greeting(trusting(door.pki, door.pki.client_expired)) == error


@pytest.mark.directive("ssl_verify_depth", "ssl_trusted_certificate")
@pytest.mark.parametrize(("depth", "good"), [(0, False), (1, True)])
def test_verify_depth(door: Door, depth: int, good: bool) -> None:
    pki = door.pki
    door.open(f"ssl_verify_client on; ssl_trusted_certificate {pki.ca.path}; ssl_verify_depth {depth};")
    assert door.greeting(trusting(pki, pki.client_deep)).startswith(b"* OK" if good else b"* BYE")


@pytest.mark.directive("auth_http_pass_client_cert")
def test_a21_client_certificate_for_the_auth_server(door: Door) -> None:
    door.open(_client_rules(door.pki, "on", "auth_http_pass_client_cert on; imap_auth external;"))
    with door.connect(trusting(door.pki, door.pki.client)) as peer:
        peer.recv(4096)
        peer.sendall(b"a AUTHENTICATE EXTERNAL\r\n")
        assert peer.recv(4096).startswith(b"+ ")
        peer.sendall(b"dXNlcg==\r\n")
        peer.recv(4096)
    headers = door.auth.requests[0].headers
    assert headers["auth-method"] == "external"
    text = door.pki.client.certificate.read_text()
    assert headers["auth-ssl-cert"] == text.replace(" ", "%20").replace("\n", "%0A")


# --- resumption ------------------------------------------------------------------------------------

V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def reload_all(site: Site, count: int) -> None:
    """Until none of the old workers is left."""
    before = site.wait_workers(count)
    site.signal("reload")
    site.wait_workers(count, besides=before)
    wait_for("the old workers' end", lambda: not any(map(alive, before)))


def _resumed(
    door: Door, version: ssl.TLSVersion, times: int = 8, reload: Callable[[], None] = lambda: None
) -> int:
    """How many of so many connections resumed the session of a first one."""
    context = trusting(door.pki, minimum_version=version, maximum_version=version)

    def visit(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        with door.connect(context, session=session) as peer:
            assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"
            return bool(peer.session_reused), peer.session

    reused, session = visit(None)
    assert not reused
    reload()
    count = 0
    for _ in range(times):
        reused, after = visit(session)
        count += reused
        if version == V3:
            session = after  # tickets of TLS 1.3 are for one use
    return count


SHARED = "ssl_session_cache shared:S:1m;"
KEPT = [
    *(("", version, 8) for version in (V2, V3)),  # tickets, with a key that workers inherit
    ("ssl_session_tickets off;", V2, 0),
    ("ssl_session_cache off; ssl_session_tickets off;", V2, 0),
    (f"{SHARED} ssl_session_tickets off;", V2, 8),
    (f"{SHARED} ssl_session_tickets off;", V3, 8),
    (SHARED, V2, 8),
    (SHARED, V3, 8),
]


@pytest.mark.directive("ssl_session_cache", "ssl_session_tickets")
@pytest.mark.parametrize(("directives", "version", "count"), KEPT)
def test_resumption_in_all_workers(door: Door, directives: str, version: ssl.TLSVersion, count: int) -> None:
    door.open(directives, workers=3)
    door.site.wait_workers(3)
    assert _resumed(door, version) == count


def test_builtin_cache_of_one_worker(door: Door) -> None:
    door.open("ssl_session_cache builtin:100; ssl_session_tickets off;")
    assert _resumed(door, V2) == 8


@pytest.mark.directive("ssl_session_ticket_key")
@pytest.mark.parametrize("size", [48, 80])
@pytest.mark.parametrize("version", [V2, V3])
def test_ticket_keys_are_kept_and_rotated(
    door: Door, tmp_path: Path, size: int, version: ssl.TLSVersion
) -> None:
    old, new = tmp_path / "old.key", tmp_path / "new.key"
    old.write_bytes(bytes(range(size)))
    new.write_bytes(bytes(reversed(range(size))))
    door.open(f"ssl_session_ticket_key {old};")

    def rotate() -> None:
        text = door.site.configuration.read_text()
        both = f"ssl_session_ticket_key {new}; ssl_session_ticket_key {old};"
        door.site.configuration.write_text(text.replace(f"ssl_session_ticket_key {old};", both))
        reload_all(door.site, 1)

    assert _resumed(door, version, reload=rotate) == 8


@pytest.mark.parametrize(
    ("directives", "version", "count"),
    [
        (f"{SHARED} ssl_session_tickets off;", V2, 8),
        (f"{SHARED} ssl_session_tickets off;", V3, 8),
        (SHARED, V3, 8),
        ("", V2, 0),  # new keys, as with nginx
    ],
)
def test_resumption_over_a_reload(door: Door, directives: str, version: ssl.TLSVersion, count: int) -> None:
    door.open(directives, workers=2)

    assert _resumed(door, version, reload=lambda: reload_all(door.site, 2)) == count


@pytest.mark.directive("ssl_session_timeout")
@pytest.mark.parametrize("directives", ["", f"{SHARED} ssl_session_tickets off;"])
def test_session_timeout(door: Door, directives: str) -> None:
    door.open(f"{directives} ssl_session_timeout 1s;")
    context = trusting(door.pki, maximum_version=V2)
    with door.connect(context) as peer:
        session = peer.session
        assert session is not None
        assert peer.recv(4096) == b"* OK IMAP4 ready\r\n"

    def expired() -> bool:
        with door.connect(context, session=session) as peer:
            return not peer.session_reused

    wait_for("the session's end", expired)


# --- what is not TLS -------------------------------------------------------------------------------


def test_a24_plain_text_to_a_tls_port(door: Door) -> None:
    door.open()
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as peer:
        peer.sendall(b"a LOGIN user pass\r\n")
        while peer.recv(4096):
            pass
    line = door.site.wait_log("SSL_do_handshake")
    assert "[info]" in line and "wrong version number" in line


def test_a24_alpn(door: Door) -> None:
    door.open()
    context = trusting(door.pki)
    context.set_alpn_protocols(["imap"])
    with door.connect(context) as peer:
        assert peer.selected_alpn_protocol() == "imap"
    context.set_alpn_protocols(["h2", "http/1.1"])
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        door.connect(context)
    assert "[info]" in door.site.wait_log("no application protocol")


def test_a24_http_in_tls(door: Door) -> None:
    """A browser that was sent here says nothing about mail for long (ALPACA)."""
    door.open()
    with door.connect(trusting(door.pki)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: mail.test\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\n\r\n")
        said = b""
        while data := peer.recv(4096):
            said += data
    assert said.count(b"BAD") == 5
    door.site.wait_log("client sent too many invalid commands")


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize("cache", ["ssl_session_tickets on;", f"{SHARED} ssl_session_tickets off;"])
@pytest.mark.parametrize(
    "rules",
    [
        "ssl_verify_client on; ssl_client_certificate {ca};",
        "ssl_verify_client on; ssl_trusted_certificate {ca};",
        "ssl_verify_client optional; ssl_trusted_certificate {other};",
    ],
)
def test_a22_no_resumption_under_other_rules(
    site: Site, auth: AuthServer, pki: PKI, version: ssl.TLSVersion, cache: str, rules: str
) -> None:
    """CVE-2025-23419: a session of one server is none at another that asks more, or others, of clients."""
    first, second = reserve(), reserve()
    keys = pki.directory / "ticket.key"
    keys.write_bytes(bytes(range(80)))
    site.configure(
        f"auth_http 127.0.0.1:{auth.port}/auth; ssl_certificate {pki.server.certificate}; {cache}\n"
        f"ssl_certificate_key {pki.server.key}; ssl_session_ticket_key {keys};\n"
        f"server {{ listen 127.0.0.1:{first} ssl; protocol imap; ssl_verify_client optional_no_ca; }}\n"
        f"server {{ listen 127.0.0.1:{second} ssl; protocol imap; "
        f"{rules.format(ca=pki.ca.path, other=pki.other_ca.path)} }}\n"
    )
    site.start()
    context = trusting(pki, minimum_version=version, maximum_version=version)

    def visit(port: int, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with context.wrap_socket(raw, server_hostname="mail.test", session=session) as peer:
            peer.recv(4096)
            return bool(peer.session_reused), peer.session

    _, session = visit(first, None)
    assert visit(first, session)[0]  # it is good where it was made
    _, session = visit(first, None)
    assert not visit(second, session)[0]


def test_renegotiation(door: Door) -> None:
    """TLS 1.2 has it; a client that asks for it, over and over, would cost a handshake each time."""
    door.open()
    said = s_client(door, "-tls1_2", text=b"R\n")
    assert "RENEGOTIATING" in said and "no renegotiation" in said
    assert door.greeting(trusting(door.pki)) == b"* OK IMAP4 ready\r\n"


# --- renewed certificates --------------------------------------------------------------------------


def serial(door: Door) -> int:
    """Of the certificate that is served now."""
    with door.connect(trusting(door.pki)) as peer:
        certificate = peer.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


@pytest.fixture(params=["workers", "single process"])
def renewing(request: pytest.FixtureRequest, door: Door, tmp_path: Path) -> Path:
    """Where ``mail.crt`` and ``mail.key`` are, links as certbot makes them; only we can read the key."""
    tmp_path.chmod(0o755)
    first = door.pki.ca.issue("mail.test", names=["mail.test"], file="first")
    link(tmp_path, first)
    single = request.param != "workers"
    door.site.configure(
        f"auth_http 127.0.0.1:{door.auth.port}/auth; server {{ listen 127.0.0.1:{door.port} ssl; "
        f"protocol imap; ssl_certificate {tmp_path}/mail.crt; ssl_certificate_key {tmp_path}/mail.key; "
        "ssl_certificate_reload 50ms; }",
        main="master_process off;" if single else USER,
        workers=1 if single else 2,
    )
    door.site.start()
    return tmp_path


def link(directory: Path, files: Files) -> None:
    files.key.chmod(0o600)
    for name, target in (("mail.crt", files.certificate), ("mail.key", files.key)):
        new = directory / "new"
        new.symlink_to(target)
        new.rename(directory / name)


@pytest.mark.directive("ssl_certificate_reload")
def test_renewed_certificate(door: Door, renewing: Path) -> None:
    old = serial(door)
    with door.connect(trusting(door.pki)) as held:
        assert held.recv(4096) == b"* OK IMAP4 ready\r\n"
        link(renewing, door.pki.ca.issue("mail.test", names=["mail.test"], file="second"))
        assert "[notice] " in door.site.wait_log(f'certificate "{renewing}/mail.crt" renewed')
        wait_for("the new certificate in every process", lambda: all(serial(door) != old for _ in range(8)))
        held.sendall(b"a NOOP\r\n")
        assert held.recv(4096) == b"a OK completed\r\n"


def test_broken_pair_keeps_the_old_one(door: Door, renewing: Path) -> None:
    old = serial(door)
    second = door.pki.ca.issue("mail.test", names=["mail.test"], file="second")
    first = door.pki.directory / "first.key"
    link(renewing, Files(second.certificate, first))
    line = door.site.wait_log("could not be renewed")
    assert "[error]" in line and "SSL_CTX_use_PrivateKey" in line and "key values mismatch" in line
    assert serial(door) == old
    link(renewing, second)
    door.site.wait_log('mail.crt" renewed')
    wait_for("the new certificate", lambda: serial(door) != old)
    assert sum("could not be renewed" in line for line in door.site.log()) == 1


def test_renewed_with_a_key_of_another_type(door: Door, renewing: Path) -> None:
    rsa = door.pki.ca.issue("mail.test", names=["mail.test"], kind="rsa", file="third")
    link(renewing, rsa)
    door.site.wait_log('mail.crt" renewed')

    def types() -> set[str]:
        found = set()
        for ciphers in ("ECDSA", "aRSA"):
            context = trusting(door.pki, maximum_version=V2)
            context.set_ciphers(ciphers)
            for _ in range(4):
                with contextlib.suppress(ssl.SSLError), door.connect(context):
                    found.add(ciphers)
        return found

    wait_for("the old type's end", lambda: types() == {"aRSA"})
