"""Prints how clients are shared out among two workers, with nginx and with fastmail:

PYTHONPATH=tests .venv/bin/python tests/figures/balance.py [fastmail|nginx]…
"""

import sys
from contextlib import ExitStack, suppress

from support.authserver import AuthServer, answer
from support.ports import reserve
from support.processes import Echo, Session, opened, serving, wait_for
from support.proxy import KINDS, Proxy

CASES = ((300, 4096), (180, 200), (192, 200), (300, 200))
"""Sessions that log in one after the other and stay, and ``worker_connections``."""


def clients(worker: int) -> int:
    """Sockets of a worker."""
    return sum(name.startswith("socket:") for name in opened(worker).values())


def measure(kind: str, sessions: int, connections: int) -> str:
    with ExitStack() as stack:
        backend = stack.enter_context(Echo())
        auth = stack.enter_context(AuthServer(lambda _: (answer("OK", port=backend.port),)))
        port = reserve()
        mail = (
            f"auth_http 127.0.0.1:{auth.port}/auth; server {{ listen 127.0.0.1:{port}; protocol imap; "
            "proxy on; }"
        )
        proxy = stack.enter_context(Proxy(kind, mail, [port], workers=2, connections=connections))
        wait_for("both workers", lambda: all(map(serving, proxy.workers)))
        idle = {worker: clients(worker) for worker in proxy.workers}
        served = 0
        for _ in range(sessions):
            with suppress(AssertionError, OSError):
                stack.enter_context(Session(port))
                served += 1
        shares = sorted((clients(worker) - idle[worker]) // 2 for worker in proxy.workers)
    closed = sessions - served
    return f"{shares[1]:5d} + {shares[0]:3d} ({shares[1] / served:.0%} on one), {closed} closed unserved"


def main() -> None:
    for sessions, connections in CASES:
        print(f"{sessions} sessions, worker_connections {connections}")
        for kind in sys.argv[1:] or KINDS:
            print(f"  {kind:9s}{measure(kind, sessions, connections)}", flush=True)


if __name__ == "__main__":
    main()
