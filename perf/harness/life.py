"""What a proxy costs before the first session, and what idle ones add: on one started for each slice."""

import time
from typing import Any

from .bench import Bench, Scenario
from .figures import Figure, Slice, Target
from .measure import memory
from .proxies import Proxy

SETTLES = 0.3  # seconds between the last login and the look at the memory
TLS_VERSION = "1.3"


class Life(Scenario):
    """Start, look at the memory, hold idle sessions in clear, then others over TLS, reload, stop."""

    key = "life"
    overhead = 3.0

    def __init__(self, sessions: int, tls_sessions: int) -> None:
        self.sessions, self.tls_sessions = sessions, tls_sessions
        super().__init__(
            Figure("memory per idle session", "bytes", target=Target(0.05, 0.03, limit=512)),
            Figure("memory per idle session, TLS", "bytes", target=Target(0.65, 0.60)),
            Figure("resident memory of a worker with no session (RSS)", "MB", 1e-6),
            Figure("its share of it (PSS)", "MB", 1e-6),
            Figure("start to first greeting", "ms", 1e3, elapsed=True),
            Figure("reload to first greeting of the new configuration", "ms", 1e3, elapsed=True),
        )

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        with bench.started(proxy.variant) as fresh:
            empty = memory(fresh.worker)
            bench.warm_up(fresh)
            before = memory(fresh.worker)
            idle: dict[str, Any] = {"sessions": self.sessions, "seconds": 30}
            tls: dict[str, Any] = {"sessions": self.tls_sessions, "seconds": 30, "tls": TLS_VERSION}
            with bench.load(fresh, "idle", "imap", **idle) as held:
                held.run()
                time.sleep(SETTLES)
                plain = memory(fresh.worker)
                # The load that holds the first sessions serves as these ones' backend too.
                with bench.load(fresh, "idle", "ecdsa", protocol="imap", serves=[], **tls) as held_tls:
                    held_tls.run()
                    time.sleep(SETTLES)
                    both = memory(fresh.worker)
            fresh.server.check()
            reload = fresh.server.reload(fresh.ports["smtp"])
            start = fresh.server.start_seconds
            return Slice(
                self._values(
                    (plain.private_dirty - before.private_dirty) / self.sessions,
                    (both.private_dirty - plain.private_dirty) / self.tls_sessions,
                    empty.resident, empty.share, start, reload,
                )
            )  # fmt: skip

    def seconds_each(self, bench: Bench) -> float:
        return self.overhead
