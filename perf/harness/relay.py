"""What the relay costs after the login, and how long it lets others wait."""

import time
from dataclasses import replace
from typing import Any

from .bench import Bench, Scenario, under_load
from .figures import Figure, Slice, Target
from .proxies import Proxy

STORM_LEAD = 0.1  # seconds that the storm has to rise before sessions are watched in it
WATCHED = 64  # sessions in the storm, enough for one to be free at any time
STORM_SLICES = 2  # as long as other slices: a pause is rare
WATCH_RATE = 2000  # exchanges a second, so little that the storm remains one


class Bulk(Scenario):
    """Four sessions that fetch, or store, messages of 16 MB. ``tls`` is the version that clients speak."""

    key = "bulk"

    def __init__(self, upload: bool = False, tls: str = "") -> None:
        self._upload, self._tls = upload, tls
        direction = "to the backend" if upload else "to the client"
        title = f"processor time per GB {direction}" + (f", TLS {tls}" if tls else "")
        target = Target(0.45, 0.35) if tls else Target(0.25, 0.15)
        super().__init__(Figure(title, "ms", 1e3, target=target))

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        block = "ecdsa" if self._tls else "imap"
        options: dict[str, Any] = {"sessions": 4, "upload": self._upload, "tls": self._tls}
        with bench.load(proxy, "bulk", block, protocol="imap", **options) as load:
            _, part = under_load(bench, proxy, load, "bytes")
        return replace(part, values=self._values(part.cost * 1e9))


class Exchange(Scenario):
    """Sixteen sessions that send NOOP, wait for the answer, and send again."""

    key = "exchange"
    curve = "small exchanges, 16 sessions at once"

    def __init__(self) -> None:
        target = Target(1.05, 0.90)
        super().__init__(
            Figure("processor time per small exchange", "µs", 1e6, target=target),
            Figure("latency of small exchanges, p99", "µs", target=target, elapsed=True),
        )

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        with bench.load(proxy, "exchange", "imap") as load:
            result, part = under_load(bench, proxy, load, "exchanges")
        return replace(part, values=self._values(part.cost, result["latency_us"]["p99"]))


class Storm(Scenario):
    """Relayed sessions that send NOOP, so many a second, while others log in over TLS as fast as they can.

    Clients and backends of the watched sessions are a process of their own, which the kernel runs first:
    what they wait for is the proxy, not the load generator's share of the handshakes.
    """

    key = "storm"
    curve = "small exchanges in a storm of TLS logins"
    overhead = 0.5

    def __init__(self) -> None:
        title = "pause of a relayed session in a storm of TLS logins, p99.9"
        super().__init__(Figure(title, "ms", 1e-3, target=Target(1.0, 0.3), elapsed=True))

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        seconds = STORM_SLICES * bench.seconds
        with (
            bench.load(proxy, "exchange", "pop3", serves=["pop3"], urgent=True, sessions=WATCHED,
                       rate=WATCH_RATE, seconds=seconds) as watched,
            bench.load(proxy, "logins", "ecdsa", protocol="imap", serves=["imap"], tls="1.3",
                       concurrency=bench.tls_concurrency, seconds=seconds + 2 * STORM_LEAD) as storm,
        ):  # fmt: skip
            storm.begin()
            time.sleep(STORM_LEAD)
            result, part = under_load(bench, proxy, watched, "exchanges")
            storm.result()
        return replace(part, values=self._values(result["latency_us"]["p999"]))

    def seconds_each(self, bench: Bench) -> float:
        return STORM_SLICES * bench.seconds + self.overhead
