"""The container's health check: whether the server at $HEALTHCHECK greets a client (exit status 0 or 1)."""

import os
import socket
import sys

TIMEOUT = 8  # seconds; the recipe grants 10

address = os.environ.get("HEALTHCHECK", "")
host, _, port = address.rpartition(":")
if not (host and port.isdecimal() and int(port) < 65536):
    sys.exit(f'HEALTHCHECK is "{address}" instead of an address and a port')
try:
    with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT) as client:
        greeting = client.recv(512)
except OSError as error:
    sys.exit(f"{address}: {error.strerror or error}")
if not greeting.startswith((b"* OK", b"+OK", b"220")):
    sys.exit(f"{address}: unexpected greeting {greeting!r}")
