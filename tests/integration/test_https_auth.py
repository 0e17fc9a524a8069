"""``auth_http https://`` in real workers, with ``user nobody``."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificate import Certificate
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


@pytest.fixture
def https_port(backend: Echo, tmp_path: Path) -> Iterator[int]:
    """Where auth is answered over TLS; ``tmp_path`` has the certificate."""
    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    server.backend_port = backend.port  # type: ignore[attr-defined]
    server.socket = Certificate(tmp_path).server_context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


def start(site: Site, https_port: int, tmp_path: Path, host: str) -> int:
    """Start it with a trust store that only we can read; the port of the proxy."""
    port = reserve()
    tmp_path.chmod(0o700)
    site.configure(
        f"auth_http https://{host}:{https_port}/a; server {{ listen 127.0.0.1:{port}; protocol imap; }}",
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


def test_certificate_for_another_name(site: Site, https_port: int, tmp_path: Path) -> None:
    port = start(site, https_port, tmp_path, "localhost")
    with pytest.raises(AssertionError, match="BAD internal server error"):
        Session(port)
    site.wait_log(
        rf"\[error\] .* server 127\.0\.0\.1:{https_port} sent a bad certificate: Hostname mismatch, "
        "certificate is not valid for 'localhost' while in http auth state, "
    )
    assert imports(site) == []
