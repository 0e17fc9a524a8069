"""A throw-away certificate for TLS servers of the tests."""

import ssl
import subprocess
from pathlib import Path


class Certificate:
    """Self-signed, for ``127.0.0.1`` and ``auth.test``; ``path`` is what clients have to trust."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "certificate.pem"
        self.key = directory / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-keyout", self.key, "-out", self.path, "-days", "2", "-subj", "/CN=auth.test",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:auth.test",
             "-addext", "keyUsage=critical,digitalSignature,keyCertSign"],
            check=True, capture_output=True,
        )  # fmt: skip

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context
