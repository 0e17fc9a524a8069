"""Run in a network namespace of its own: which backends on a wildcard listener's port are the proxy."""

import socket
import sys
from pathlib import Path

OWN, FOREIGN = "192.0.2.1", "203.0.113.7"


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support import engine, loopback
    from support.engine import INTERNAL, Rig

    loopback.up()
    loopback.add(OWN)
    engine.HOSTS[socket.AF_INET] = "0.0.0.0"
    with Rig(level=4) as rig:
        for address, words in (
            (OWN, "upstream is this proxy itself"),
            (FOREIGN, f"connect() to {FOREIGN}:PORT failed (101: Network is unreachable)"),
        ):
            client, auth = rig.ask()
            port = rig.listener.address[1][1]
            auth.send(f"Auth-Status: OK\r\nAuth-Server: {address}\r\nAuth-Port: {port}\r\n\r\n".encode())
            assert client.rest() == INTERNAL
            suffix = engine.suffix(upstream=f"{address}:{port}")
            rig.logged(f"[error] {words.replace('PORT', str(port))} while connecting to upstream{suffix}")


if __name__ == "__main__":
    main()
