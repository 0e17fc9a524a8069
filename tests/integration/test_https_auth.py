"""``auth_http https://`` in real workers, with ``user nobody``."""

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificate import Certificate
from support.distribution import Distribution
from support.listener import PATIENCE
from support.pki import PKI
from support.ports import HOST, reserve
from support.processes import USER, Echo, Session, Site


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends everybody to the backend whose port its server knows."""

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Auth-Status", "OK")
        self.send_header("Auth-Server", HOST)
        self.send_header("Auth-Port", str(self.server.backend_port))  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def serving(context: ssl.SSLContext, backend: Echo) -> Iterator[int]:
    """Answer auth requests over TLS; the port."""
    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    server.backend_port = backend.port  # type: ignore[attr-defined]
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def https_port(backend: Echo, tmp_path: Path) -> Iterator[int]:
    """Where auth is answered over TLS; ``tmp_path`` has the certificate."""
    with serving(Certificate(tmp_path).server_context(), backend) as port:
        yield port


def start(site: Site, https_port: int, tmp_path: Path, host: str, listen: str = "") -> int:
    """Start it with a trust store that only we can read; the port of the proxy.

    ``listen`` follows the address that it listens on.
    """
    port = reserve()
    tmp_path.chmod(0o700)
    site.configure(
        f"auth_http https://{host}:{https_port}/a; "
        f"server {{ listen 127.0.0.1:{port}{listen}; protocol imap; }}",
        main=USER,
    )
    trusted = str(tmp_path / "certificate.pem")
    site.start(environment={"SSL_CERT_FILE": trusted, "PYTHONPROFILEIMPORTTIME": "1"})
    site.wait_workers(1)
    return port


def imports(site: Site) -> list[str]:
    """The modules that processes have imported since they serve: the interpreter writes them to the log."""
    return [line for line in site.log() if line.startswith("import time:")]


def test_login(site: Site, https_port: int, tmp_path: Path) -> None:
    with Session(start(site, https_port, tmp_path, HOST)) as session:
        session.exchange()
    assert imports(site) == []


def test_login_over_tls(site: Site, https_port: int, tmp_path: Path) -> None:
    """Python's OpenSSL towards the auth server and the engine's towards clients, in one process."""
    own = PKI(tmp_path / "own")
    files = f"ssl_certificate {own.server.certificate}; ssl_certificate_key {own.server.key}"
    port = start(site, https_port, tmp_path, HOST, f" ssl; {files}")
    context = ssl.create_default_context(cafile=own.ca.path)
    for _ in range(3):
        with (
            socket.create_connection((HOST, port), PATIENCE) as raw,
            context.wrap_socket(raw, server_hostname=HOST) as client,
            client.makefile("rb") as lines,
        ):
            assert lines.readline() == b"* OK IMAP4 ready\r\n"
            client.sendall(b"a LOGIN user secret\r\n")
            assert lines.readline() == b"a OK logged in\r\n"
            client.sendall(b"hello\r\n")
            assert lines.readline() == b"* hello\r\n"
    assert imports(site) == []


def test_certificate_for_another_name(site: Site, https_port: int, tmp_path: Path) -> None:
    port = start(site, https_port, tmp_path, "localhost")
    with pytest.raises(AssertionError, match="internal server error"):
        Session(port)
    site.wait_log(
        rf"\[error\] .* server 127\.0\.0\.1:{https_port} sent a bad certificate: Hostname mismatch, "
        "certificate is not valid for 'localhost' while in http auth state, "
    )
    assert imports(site) == []


@pytest.mark.parametrize(
    "bundle",
    ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/ca-bundle.pem"],
)
def test_distribution_that_the_interpreter_does_not_know(
    site: Site, https_port: int, port: int, tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its OpenSSL was built to look where nothing is, as that of an interpreter from elsewhere."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    distribution = Distribution(tmp_path)
    distribution.put(bundle, (tmp_path / "certificate.pem").read_text())
    site.configure(
        f"auth_http https://{HOST}:{https_port}/a; server {{ listen 127.0.0.1:{port}; protocol imap; }}",
        main=USER,
    )
    site.start(within=distribution.within)
    with Session(port) as session:
        session.exchange()


# --- auth_http_ssl_* -------------------------------------------------------------------------------


@pytest.fixture
def strict_port(backend: Echo, pki: PKI) -> Iterator[int]:
    """An auth server that wants a certificate of its clients, and has one for mail.test and 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.ca.path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pki.server.certificate, pki.server.key)
    with serving(context, backend) as port:
        yield port


def settings(site: Site, pki: PKI, https_port: int, host: str, more: str) -> int:
    """Configure a proxy that shows its certificate; its port."""
    port = reserve()
    own = pki.client
    site.configure(
        f"auth_http https://{host}:{https_port}/a; auth_http_ssl_certificate {own.certificate}; "
        f"auth_http_ssl_certificate_key {own.key}; {more}\n"
        f"server {{ listen 127.0.0.1:{port}; protocol imap; }}",
        main=USER,
    )
    return port


@pytest.mark.directive(
    "auth_http_ssl_trusted_certificate",
    "auth_http_ssl_certificate",
    "auth_http_ssl_certificate_key",
    "auth_http_ssl_name",
    "auth_http_ssl_verify",
)
@pytest.mark.parametrize(
    ("host", "more", "good"),
    [
        (HOST, "auth_http_ssl_trusted_certificate {ca};", True),
        (HOST, "", False),
        (HOST, "auth_http_ssl_verify off;", True),
        (HOST, "auth_http_ssl_trusted_certificate {other};", False),
        (HOST, "auth_http_ssl_trusted_certificate {ca}; auth_http_ssl_name mail.test;", True),
        (HOST, "auth_http_ssl_trusted_certificate {ca}; auth_http_ssl_name other.test;", False),
    ],
)
def test_whom_we_trust(site: Site, pki: PKI, strict_port: int, host: str, more: str, good: bool) -> None:
    more = more.format(ca=pki.ca.path, other=pki.other_ca.path)
    port = settings(site, pki, strict_port, host, more)
    site.start()
    if good:
        with Session(port) as session:
            session.exchange()
    else:
        with pytest.raises(AssertionError, match="internal server error"):
            Session(port)
        assert "sent a bad certificate: " in site.wait_log("auth http server")


@pytest.mark.parametrize(
    ("directives", "message"),
    [
        (
            "auth_http_ssl_trusted_certificate none.pem;",
            'cannot load trusted certificates "DIR/none.pem": (2: No such file or directory) in DIR/',
        ),
        (
            "auth_http_ssl_certificate {key}; auth_http_ssl_certificate_key {key};",
            'cannot load certificate "{key}" with key "{key}": not found in PEM format in DIR/',
        ),
        (
            "auth_http_ssl_certificate {certificate};",
            'no "auth_http_ssl_certificate_key" is defined for certificate "{certificate}" in DIR/',
        ),
        (
            "auth_http_ssl_certificate {locked}; auth_http_ssl_certificate_key {lock};",
            'cannot load certificate "{locked}" with key "{lock}": its key is encrypted, and',
        ),
    ],
)
def test_files_that_are_not_good(site: Site, pki: PKI, directives: str, message: str) -> None:
    encrypted = pki.ca.issue("client.test", password=b"secret", file="locked")
    names = {
        "certificate": pki.client.certificate, "key": pki.client.key,
        "locked": encrypted.certificate, "lock": encrypted.key,
    }  # fmt: skip
    site.configure(
        f"{directives.format(**names)}\nauth_http https://127.0.0.1/; "
        f"server {{ listen {reserve()}; protocol imap; }}"
    )
    result = site.run("-t")
    assert result.returncode == 1
    assert message.format(**names).replace("DIR", str(site.directory)) in result.stderr
    assert "Traceback" not in result.stderr


def test_files_are_not_read_without_https(site: Site) -> None:
    site.configure(
        f"auth_http_ssl_trusted_certificate none.pem; auth_http 127.0.0.1; server {{ listen {reserve()}; "
        "protocol imap; }"
    )
    assert site.run("-t").returncode == 0
