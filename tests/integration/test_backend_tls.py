"""TLS towards real backends: Dovecot and Postfix, from the first byte and after STARTTLS."""

import imaplib
import poplib
import re
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ports
from support.authserver import AuthServer, Request, answer
from support.dovecot import PASSWORD, Dovecot
from support.listener import Moves
from support.pki import PKI
from support.postfix import DOMAIN, Postfix
from support.processes import Site, wait_for
from support.proxy import Proxy

USER = "alice"
MESSAGE = f"From: {USER}@{DOMAIN}\r\nTo: {USER}@{DOMAIN}\r\nSubject: hello\r\n\r\n" + "x" * 70 + "\r\n"


@pytest.fixture(scope="module")
def dovecot(pki: PKI) -> Iterator[Dovecot]:
    with Dovecot([USER], tls=pki.server, client_ca=pki.ca.path) as dovecot:
        yield dovecot


@pytest.fixture(scope="module")
def postfix(dovecot: Dovecot, pki: PKI) -> Iterator[Postfix]:
    with Dovecot([USER]) as sasl, Postfix(sasl, [USER], tls=pki.server) as postfix:
        yield postfix


MODES = {"implicit": "proxy_ssl on;", "starttls": "proxy_ssl_starttls on;"}


@pytest.fixture(scope="module", params=list(MODES))
def doors(
    request: pytest.FixtureRequest, dovecot: Dovecot, postfix: Postfix, pki: PKI
) -> Iterator[dict[str, int]]:
    """Ports of fastmail, by protocol, and of SMTP with XCLIENT; it checks the backends, and shows them a
    certificate."""
    if request.param == "implicit":
        backends = {"imap": dovecot.imaps, "pop3": dovecot.pop3s, "smtp": postfix.submissions}
    else:
        backends = {"imap": dovecot.imap, "pop3": dovecot.pop3, "smtp": postfix.submission_starttls}

    def judge(asked: Request) -> Moves:
        return (answer("OK", port=backends[asked.headers["auth-protocol"]]),)

    doors = {protocol: ports.reserve() for protocol in (*backends, "smtp xclient")}
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} ssl; protocol {name.split()[0]}; "
        f"xclient {'on' if 'xclient' in name else 'off'}; }}\n"
        for name, port in doors.items()
    )
    with AuthServer(judge) as auth:
        mail = (
            f"auth_http 127.0.0.1:{auth.port}/; {MODES[request.param]} proxy_ssl_verify on;\n"
            f"proxy_smtp_auth on; proxy_ssl_trusted_certificate {pki.ca.path};\n"
            f"proxy_ssl_certificate {pki.client.certificate};\n"
            f"proxy_ssl_certificate_key {pki.client.key}; ssl_certificate {pki.server.certificate};\n"
            f"ssl_certificate_key {pki.server.key};\n"
        )
        with Proxy("fastmail", mail + servers, list(doors.values())):
            yield doors


@pytest.fixture
def trusting(pki: PKI) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pki.ca.path)


@pytest.mark.directive(
    "proxy_ssl",
    "proxy_ssl_starttls",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
)
def test_imap(doors: dict[str, int], trusting: ssl.SSLContext, dovecot: Dovecot) -> None:
    data = b"Subject: big\r\n\r\n" + b"".join(b"%071d\r\n" % i for i in range(20_000))
    since = len(dovecot.log())
    with imaplib.IMAP4_SSL("127.0.0.1", doors["imap"], ssl_context=trusting, timeout=20) as client:
        client.login(USER, PASSWORD)
        client.create("big")
        assert client.append("big", "", "", data)[0] == "OK"
        client.select("big")
        fetched = client.fetch("1", "(BODY.PEEK[])")[1][0]
        assert isinstance(fetched, tuple) and fetched[1] == data
        client.delete("big")
    line = "imap-login: Info: (Login|Logged in):.*TLS"
    wait_for("Dovecot's log", lambda: re.search(line, dovecot.log()[since:]))


def test_pop3(doors: dict[str, int], trusting: ssl.SSLContext) -> None:
    client = poplib.POP3_SSL("127.0.0.1", doors["pop3"], context=trusting, timeout=20)
    client.user(USER)
    client.pass_(PASSWORD)
    assert client.stat()[0] >= 0
    client.quit()


@pytest.mark.parametrize("door", ["smtp", "smtp xclient"])
def test_smtp(doors: dict[str, int], door: str, trusting: ssl.SSLContext, postfix: Postfix) -> None:
    sent = postfix.log().count("status=sent")
    with smtplib.SMTP_SSL("127.0.0.1", doors[door], "me.test", timeout=20, context=trusting) as client:
        client.login(USER, PASSWORD)
        client.sendmail(f"{USER}@{DOMAIN}", [f"{USER}@{DOMAIN}"], MESSAGE)
    wait_for("delivery", lambda: postfix.log().count("status=sent") > sent)


@pytest.mark.parametrize(
    ("directives", "words"),
    [
        pytest.param(
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate {other};",
            r'\[error\].* upstream SSL certificate verify error: \(\d+:.*\) for "127.0.0.1", it is of '
            r'"/C=US/O=Ex, Inc/CN=mail.test", the fault is in that of "/C=US/O=Ex, Inc/CN=ca" '
            "while SSL handshaking to upstream, client: .*upstream: 127",
            marks=pytest.mark.directive("proxy_ssl_verify"),
            id="unknown authority",
        ),
        pytest.param(
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_name other.test;",
            r'upstream SSL certificate does not match "other.test", it is of "/C=US/O=Ex, Inc/CN=mail.test"',
            marks=pytest.mark.directive("proxy_ssl_name"),
            id="another name",
        ),
        pytest.param(
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_crl {empty};",
            r"upstream SSL certificate verify error: \(",
            marks=pytest.mark.directive("proxy_ssl_crl"),
            id="no word from the authority itself",
        ),
        pytest.param(
            "proxy_ssl_ciphers AES128-SHA; proxy_ssl_protocols TLSv1.2;",
            # Dovecot 2.4 says why it closes
            r"\[error\].* (peer closed connection in SSL handshake|.*alert handshake failure.*)"
            " while SSL handshaking to upstream",
            marks=pytest.mark.directive("proxy_ssl_ciphers", "proxy_ssl_protocols"),
            id="no cipher",
        ),
        pytest.param(
            "proxy_ssl_conf_command MaxProtocol TLSv1.1;",
            r"SSL_do_handshake\(\) failed \(SSL: .*no protocols available",
            marks=pytest.mark.directive("proxy_ssl_conf_command"),
            id="no protocol",
        ),
    ],
)
def test_refused(dovecot: Dovecot, pki: PKI, directives: str, words: str) -> None:
    """The client hears of an internal error, and the backend no password."""
    port = ports.reserve()
    empty = pki.other_ca.revoke(pki.client_other)
    directives = directives.format(ca=pki.ca.path, other=pki.other_ca.path, empty=empty)
    with AuthServer(lambda _: (answer("OK", port=dovecot.imaps),)) as auth:
        mail = f"auth_http 127.0.0.1:{auth.port}/; proxy_ssl on; {directives}\n"
        mail += f"server {{ listen 127.0.0.1:{port}; protocol imap; }}"
        with Proxy("fastmail", mail, [port]) as proxy:
            client = imaplib.IMAP4("127.0.0.1", port, 20)
            with pytest.raises(imaplib.IMAP4.error):
                client.login(USER, PASSWORD)
            proxy.wait_log(words)
            client.shutdown()


@pytest.mark.directive("proxy_ssl_password_file", "proxy_ssl_verify_depth")
def test_settings_of_certificates(dovecot: Dovecot, pki: PKI, tmp_path: Path) -> None:
    """Our own key may be encrypted; a chain that is too long is none."""
    own = pki.ca.issue("client.test", password=b"open sesame", file="client-encrypted")
    passwords = tmp_path / "passwords"
    passwords.write_text("open sesame\n")
    deep = pki.intermediate.issue("127.0.0.1", names=["127.0.0.1"], chain=[pki.intermediate], file="deep")
    doors = {depth: ports.reserve() for depth in (0, 1)}
    with Dovecot([USER], tls=deep, client_ca=pki.ca.path) as behind:
        servers = "".join(
            f"server {{ listen 127.0.0.1:{port}; protocol imap; proxy_ssl_verify_depth {depth}; }}\n"
            for depth, port in doors.items()
        )
        with AuthServer(lambda _: (answer("OK", port=behind.imaps),)) as auth:
            mail = (
                f"auth_http 127.0.0.1:{auth.port}/; proxy_ssl on; proxy_ssl_verify on;\n"
                f"proxy_ssl_trusted_certificate {pki.ca.path}; proxy_ssl_certificate {own.certificate};\n"
                f"proxy_ssl_certificate_key {own.key}; proxy_ssl_password_file {passwords};\n"
            )
            with Proxy("fastmail", mail + servers, list(doors.values())):
                with imaplib.IMAP4("127.0.0.1", doors[1], 20) as client:
                    client.login(USER, PASSWORD)
                refused = imaplib.IMAP4("127.0.0.1", doors[0], 20)
                with pytest.raises(imaplib.IMAP4.error):
                    refused.login(USER, PASSWORD)
                refused.shutdown()


@pytest.mark.parametrize(
    ("directives", "message"),
    [
        (
            "proxy_ssl on; proxy_ssl_starttls on;",
            '"proxy_ssl" and "proxy_ssl_starttls" cannot both be on in DIR/',
        ),
        ("proxy_ssl on; proxy_ssl_verify on;", "no proxy_ssl_trusted_certificate for proxy_ssl_verify"),
        (
            "proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate none.pem;",
            'cannot load certificate "DIR/none.pem": BIO_new_file() failed (SSL: error:',
        ),
        (
            "proxy_ssl_starttls on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca};\n"
            "proxy_ssl_crl {ca};",
            'cannot load CRL "{ca}": PEM_read_bio_X509_CRL() failed (SSL: error:',
        ),
        (
            "proxy_ssl on; proxy_ssl_certificate {certificate};",
            'no "proxy_ssl_certificate_key" is defined for certificate "{certificate}"',
        ),
        (
            "proxy_ssl on; proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {other};",
            'SSL_CTX_use_PrivateKey("{other}") failed (SSL: error:',
        ),
        ("proxy_ssl_password_file none;", 'open() "DIR/none" failed (2: No such file or directory) in DIR/'),
        ("proxy_ssl on; proxy_ssl_ciphers FOO;", 'SSL_CTX_set_cipher_list("FOO") failed (SSL: error:'),
        ("proxy_ssl on; proxy_ssl_conf_command Foo bar;", 'SSL_CONF_cmd("Foo", "bar") failed (SSL: error:'),
        ("proxy_ssl_protocols TLSv2;", 'invalid value "TLSv2" in DIR/'),
    ],
)
def test_mistakes(site: Site, pki: PKI, directives: str, message: str) -> None:
    names = {"ca": pki.ca.path, "certificate": pki.client.certificate, "other": pki.server.key}
    directives = directives.format(**names)
    site.configure(f"auth_http 127.0.0.1:1; server {{ listen 127.0.0.1:14310; protocol imap; {directives} }}")
    result = site.run("-t")
    assert result.returncode == 1
    assert message.format(**names).replace("DIR", str(site.directory)) in result.stderr
    assert "Traceback" not in result.stderr


def test_files_are_not_read_without_proxy_ssl(site: Site) -> None:
    site.configure(
        "auth_http 127.0.0.1:1; proxy_ssl_verify on; proxy_ssl_trusted_certificate none; "
        "server { listen 127.0.0.1:14310; protocol imap; }"
    )
    assert site.run("-t").returncode == 0
