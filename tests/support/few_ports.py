"""Run in a network namespace of its own, which has a handful of ports: connects until they have run out."""

import socket
import sys
from pathlib import Path

PORTS = 4  # an even number: the kernel leaves the odd one out


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support import loopback
    from support.engine import INTERNAL, Rig, let_in, suffix

    loopback.up()

    for binds in ((), ("127.0.0.2", "127.0.0.3")):
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000\t60000")
        options = [((socket.AF_INET, (address, 0)), address.encode()) for address in binds]
        with Rig(proxy_bind=options) as rig:
            asking = [rig.ask() for _ in range(PORTS * max(len(binds), 1) + 1)]
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"61000\t{61000 + PORTS - 1}")
            relayed = []
            for client, auth in asking[:-1]:
                auth.send(rig.accepting())
                backend = rig.connected()
                let_in(client, backend)
                relayed.append((client, backend))
            sources = {backend.socket.getpeername()[0] for _, backend in relayed}
            assert sources == set(binds or ("127.0.0.1",)), sources
            client, auth = asking[-1]
            auth.send(rig.accepting())
            assert client.rest() == INTERNAL
            what = "connect() to BACKEND failed (99: Cannot assign requested address)"
            rig.logged(f"[crit] {what} while connecting to upstream{suffix()}")
            for client, backend in relayed:
                client.send(b"b NOOP\r\n")
                assert backend.line() == b"b NOOP\r\n"


if __name__ == "__main__":
    main()
