"""A fastmail that speaks TLS with clients, and a client that trusts it."""

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.authserver import AuthServer
from support.listener import PATIENCE
from support.pki import PKI, Files
from support.processes import Site, wait_for

V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


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


def s_client(door: Door, *arguments: str, text: bytes = b"a LOGOUT\r\n") -> str:
    """What OpenSSL's own client prints."""
    result = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-CAfile", door.pki.ca.path,
         *(["-ign_eof"] if text[:1] != b"R" else []), *arguments],
        input=text, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    return (result.stdout + result.stderr).decode("latin-1")


def halted(pid: int) -> bool:
    """Whether all threads of the process have stopped."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


@contextmanager
def served_by(worker: int, workers: Iterable[int]) -> Iterator[None]:
    """Whoever connects meets this worker: the others stand still."""
    others = [other for other in workers if other != worker]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        wait_for("the others to stop", lambda: all(map(halted, others)))
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)
