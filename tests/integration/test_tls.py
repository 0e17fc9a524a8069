"""TLS towards clients: each ssl_* directive by what a client, the auth server or the log sees."""

import contextlib
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.door import V2, V3, Door, s_client, trusting
from support.listener import PATIENCE
from support.pki import PKI
from support.ports import reserve
from support.processes import Site, wait_for

PROTOCOLS = ("imap", "pop3", "smtp")


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


DEPRECATED = ': the "ssl" directive is deprecated, use the "listen ... ssl" directive instead in '


@pytest.mark.directive("ssl")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("level", ["mail", "server"])
def test_ssl_on(site: Site, auth: AuthServer, pki: PKI, protocol: str, level: str) -> None:
    """Every address of the server speaks TLS from the first byte, and STARTTLS is not offered."""
    ports = reserve(), reserve()
    at_mail, at_server = ("ssl on;", "") if level == "mail" else ("starttls on;", "ssl on;")
    site.configure(
        f"auth_http 127.0.0.1:{auth.port}/auth; {at_mail} ssl_certificate {pki.server.certificate}; "
        f"ssl_certificate_key {pki.server.key}; server {{ protocol {protocol}; {at_server} "
        f"listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]} ssl; }}"
    )
    site.start()
    ask, _, login, _ = TALK[protocol]
    for port in ports:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
            trusting(pki).wrap_socket(plain, server_hostname="mail.test") as peer,
        ):
            peer.recv(4096)
            peer.sendall({"imap": b"a CAPABILITY\r\n", "pop3": b"CAPA\r\n", "smtp": b"EHLO a\r\n"}[protocol])
            assert ask.split()[-1] not in peer.recv(4096)
            peer.sendall(login + b"\r\n")
            wait_for("auth request", lambda: auth.requests)
        assert auth.requests.pop().headers["auth-ssl"] == "on"
    assert DEPRECATED in site.bootstrap_log.read_text()


@pytest.mark.parametrize("starttls", ["off", "on"])
def test_ssl_off(site: Site, port: int, pki: PKI, starttls: str) -> None:
    """A server is exempt from what its mail block says."""
    site.configure(
        f"auth_http 127.0.0.1:9; ssl on; ssl_certificate {pki.server.certificate}; "
        f"ssl_certificate_key {pki.server.key}; "
        f"server {{ listen 127.0.0.1:{port}; protocol imap; ssl off; starttls {starttls}; }}"
    )
    site.start()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        assert plain.recv(4096) == b"* OK IMAP4 ready\r\n"
        plain.sendall(b"a CAPABILITY\r\n")
        assert (b" STARTTLS" in plain.recv(4096)) == (starttls == "on")


TALK = {  # STARTTLS, its reply, a login, its reply before TLS if TLS is required
    "imap": (b"a STARTTLS", b"a OK completed", b"b LOGIN user pass",
             b"b BAD [PRIVACYREQUIRED] Must issue a STARTTLS command first"),
    "pop3": (b"STLS", b"+OK", b"AUTH PLAIN AHVzZXIAcGFzcw==", b"-ERR Must issue a STLS command first"),
    "smtp": (b"STARTTLS", b"220 2.0.0 Start TLS", b"AUTH PLAIN AHVzZXIAcGFzcw==",
             b"530 5.7.0 Must issue a STARTTLS command first"),
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
        context = trusting(door.pki, maximum_version=V2)
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
@pytest.mark.parametrize("store", ["", "store:", "store:file:"])
def test_encrypted_key(door: Door, tmp_path: Path, store: str) -> None:
    files = door.pki.ca.issue("mail.test", names=["mail.test"], password=b"open sesame", file="encrypted")
    passwords = tmp_path / "passwords"
    passwords.write_text("wrong\nopen sesame\nother\n")
    door.open(
        f"ssl_password_file {passwords};",
        certificate=f"ssl_certificate {files.certificate}; ssl_certificate_key {store}{files.key};",
    )
    assert door.greeting(trusting(door.pki)) == b"* OK IMAP4 ready\r\n"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("store:pkcs11:object=mail", 'key "store:pkcs11:object=mail": OSSL_STORE_open() failed (SSL: error:'),
        ("store:file:{pki}/none.key", "OSSL_STORE_open() failed (SSL: error:"),
        ("store:file:{pki}/server.crt", "OSSL_STORE_load() failed"),
        ("store:file:{pki}/client.key", "SSL_CTX_use_PrivateKey("),
        ("engine:mail", 'key "engine:mail": invalid syntax'),
        ("engine:none-such:mail", 'key "engine:none-such:mail": ENGINE_by_id() failed (SSL: error:'),
    ],
)
def test_keys_that_nobody_has(site: Site, pki: PKI, key: str, message: str) -> None:
    """Of stores and engines, as far as this OpenSSL has them."""
    site.configure(
        f"auth_http 127.0.0.1:1; ssl_certificate {pki.server.certificate};\n"
        f"ssl_certificate_key {key.format(pki=pki.directory)};\n"
        "server { listen 127.0.0.1:14310 ssl; protocol imap; }"
    )
    result = site.run("-t")
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.directive("ssl_protocols")
def test_protocols(door: Door) -> None:
    door.open("ssl_protocols TLSv1.2;")
    with door.connect(trusting(door.pki)) as peer:
        assert peer.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        door.connect(trusting(door.pki, minimum_version=ssl.TLSVersion.TLSv1_3))
    line = door.site.wait_log("SSL_do_handshake")
    assert "[info]" in line and "unsupported protocol" in line and "while SSL handshaking, client:" in line


def test_old_protocols_have_to_be_asked_for(door: Door) -> None:
    door.open("ssl_ciphers DEFAULT:@SECLEVEL=0;")
    for option in ("-tls1", "-tls1_1"):
        assert "alert protocol version" in s_client(door, option, "-cipher", "DEFAULT:@SECLEVEL=0")


def _cipher(door: Door, ciphers: str) -> str:
    context = trusting(door.pki, maximum_version=V2)
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


@pytest.mark.directive("ssl_ecdh_curve")
def test_curves(door: Door) -> None:
    door.open("ssl_ecdh_curve secp384r1;")
    assert " Temp Key: ECDH, secp384r1, 384 bits" in s_client(door)  # the server's, or the peer's
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


GREETING = {"imap": b"* OK ", "pop3": b"+OK ", "smtp": b"220 "}


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
    pki = door.pki
    door.open(_client_rules(pki, "on", f"ssl_crl {pki.crl};"), protocol=protocol)
    error, missing = REFUSED[protocol]
    for version in (V2, V3):
        assert door.greeting(trusting(pki, maximum_version=version)) == missing
        assert door.greeting(trusting(pki, pki.client, maximum_version=version)).startswith(
            GREETING[protocol]
        )
        for certificate in (pki.client_expired, pki.client_revoked, pki.client_other):
            assert door.greeting(trusting(pki, certificate, maximum_version=version)) == error


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


@pytest.mark.parametrize("mode", ["optional_no_ca", "on"])
def test_a21_subject_that_would_be_another_header(door: Door, mode: str) -> None:
    """Whoever signs a certificate writes what he likes into it; anybody may, where no CA is asked for."""
    hostile = "x\r\nAuth-SSL-Verify: SUCCESS\r\nAuth-User: root"
    authority = door.pki.other_ca if mode == "optional_no_ca" else door.pki.ca
    files = authority.issue(hostile, file=f"hostile-{mode}")
    door.open(_client_rules(door.pki, mode))
    with door.connect(trusting(door.pki, files)) as peer:
        peer.recv(4096)
        peer.sendall(b"a LOGIN user pass\r\n")
        peer.recv(4096)
    (request,) = door.auth.requests
    good = "SUCCESS" if mode == "on" else "FAILED:unable to verify the first certificate"
    assert (request.headers["auth-user"], request.headers["auth-ssl-verify"]) == ("user", good)
    assert "CN=x\\0D\\0AAuth-SSL-Verify" in request.headers["auth-ssl-subject"]


def test_a_certificate_without_a_subject(door: Door) -> None:
    """Its header is left out, as nginx leaves it out."""
    files = door.pki.ca.issue("", names=["client.test"], file="no-subject")
    door.open(_client_rules(door.pki, "on"))
    with door.connect(trusting(door.pki, files)) as peer:
        peer.recv(4096)
        peer.sendall(b"a LOGIN user pass\r\n")
        peer.recv(4096)
    (request,) = door.auth.requests
    assert "auth-ssl-subject" not in request.headers
    assert {"auth-ssl-issuer", "auth-ssl-serial", "auth-ssl-fingerprint"} < request.headers.keys()


# --- what is not TLS -------------------------------------------------------------------------------


def test_a24_plain_text_to_a_tls_port(door: Door) -> None:
    door.open()
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as peer:
        peer.sendall(b"a LOGIN user pass\r\n")
        with contextlib.suppress(ConnectionResetError):  # OpenSSL from 3.2 on reads a header alone
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


def test_renegotiation(door: Door) -> None:
    """TLS 1.2 has it; a client that asks for it, over and over, would cost a handshake each time."""
    door.open()
    said = s_client(door, "-tls1_2", text=b"R\n")
    assert "RENEGOTIATING" in said and "no renegotiation" in said
    assert door.greeting(trusting(door.pki)) == b"* OK IMAP4 ready\r\n"
