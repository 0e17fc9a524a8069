"""A self-signed certificate for the demo's TLS ports, by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

_COMMAND = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
    " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
)


def make(folder: Path) -> Path | None:
    """Write ``cert.pem`` and ``key.pem`` there. Return the first; None if there is no openssl command."""
    certificate = folder / "cert.pem"
    command = [*_COMMAND.split(), "-keyout", str(folder / "key.pem"), "-out", str(certificate)]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return certificate if result.returncode == 0 else None
