"""What a login costs."""

from dataclasses import replace
from typing import Any

from .bench import Bench, Scenario, under_load
from .figures import Figure, Slice, Target
from .measure import MeasurementError, counted_system_calls
from .proxies import Proxy

STRACE_LOGINS = 200
THINK_MS = 20

LOGIN_TARGETS = {"imap": Target(0.68, 0.45), "pop3": Target(0.77, 0.50), "smtp": Target(0.77, 0.50)}
TLS_TARGETS = {
    ("ecdsa", "1.3", False): Target(0.85, 0.70),
    ("ecdsa", "1.3", True): Target(0.80, 0.60),
    ("ecdsa", "1.2", True): Target(0.65, 0.50),
}
CALLS_TARGETS = {"imap": Target(0.70, 0.60)}
LATENCY_TARGETS = {
    "imap": Target(0.62, 0.42),
    "pop3": Target(0.77, 0.55),
    "smtp": Target(0.87, 0.70),
    "envelope": Target(0.87, 0.70),
}
LATENCY_NAMES = {
    "imap": "IMAP logins",
    "pop3": "POP3 logins",
    "smtp": "SMTP logins",
    "envelope": "SMTP envelopes",
}


def _check_connections(proxy: Proxy, result: dict[str, Any]) -> None:
    connections, logins = result["backend_connections"], result["logins"]
    if connections != logins:
        raise MeasurementError(f"{proxy.name}: {connections} backend connections for {logins} logins")


class Logins(Scenario):
    """Clients that connect, log in, log out and close, as fast as they are served; POP3 with
    ``proxy_pipelining`` as well."""

    key = "logins"
    beside = True

    def __init__(self, protocol: str, pipelining: bool = False) -> None:
        self._protocol = protocol
        self._block = f"{protocol}-pipelining" if pipelining else protocol
        self.addition = "proxy_pipelining" if pipelining else ""
        title = f"processor time per {protocol.upper()} login" + (", proxy_pipelining" if pipelining else "")
        super().__init__(Figure(title, "µs", 1e6, target=LOGIN_TARGETS[protocol]))

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        with bench.load(proxy, "logins", self._block, protocol=self._protocol) as load:
            result, part = under_load(bench, proxy, load, "logins")
        _check_connections(proxy, result)
        return replace(part, values=self._values(part.cost))


class TLSLogins(Scenario):
    """Logins over TLS, with full handshakes, or with resumed ones (by tickets)."""

    key = "tls-logins"
    overhead = 0.4  # many first logins, and last ones to wait for

    def __init__(self, kind: str, version: str, resume: bool) -> None:
        self._kind, self._version, self._resume = kind, version, resume
        how = "resumed" if resume else "full"
        super().__init__(
            Figure(
                f"processor time per login, TLS {version} {how}, {kind.upper()}",
                "µs", 1e6, target=TLS_TARGETS.get((kind, version, resume)),
            ),
        )  # fmt: skip

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        tls: dict[str, Any] = {
            "tls": self._version, "resume": self._resume, "concurrency": bench.tls_concurrency
        }  # fmt: skip
        with bench.load(proxy, "logins", self._kind, protocol="imap", **tls) as load:
            result, part = under_load(bench, proxy, load, "logins")
        _check_connections(proxy, result)
        others = result["tls_full"] if self._resume else result["tls_resumed"]
        if others:
            raise MeasurementError(f"{proxy.name}: {others} handshakes were not what was to be measured")
        return replace(part, values=self._values(part.cost))


class SystemCallsOfLogins(Scenario):
    """The same under strace, which slows the worker: only the number of calls is used."""

    key = "syscalls"

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        title = f"system calls per {protocol.upper()} login"
        super().__init__(Figure(title, target=CALLS_TARGETS.get(protocol)))
        if protocol not in CALLS_TARGETS:
            self.rounds = 3  # the same number every time
        self.calls: dict[str, dict[str, float]] = {}  # proxy -> call -> number per login, last round

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        bounds: dict[str, Any] = {"count": STRACE_LOGINS, "seconds": 30}
        with (
            bench.load(proxy, "logins", self.protocol, **bounds) as load,
            counted_system_calls(proxy.worker, proxy.server.directory / "strace") as counts,
        ):
            logins = load.run()["logins"]
        self.calls[proxy.name] = {name: number / logins for name, number in counts.calls.items()}
        return Slice(self._values(counts.total / logins))


class LoginLatency(Scenario):
    """Logins between peers that answer what arrived together 20 ms later: only round trips count.

    ``what`` is the protocol, or "envelope": SMTP without a login, up to the backend's reply to RCPT.
    """

    key = "latency"
    overhead = 0.25  # what was begun is ended, as slowly

    def __init__(self, what: str, preconnect: bool = False) -> None:
        self._what = what
        self._block = f"{what}-preconnect" if preconnect else f"{what}-thinking"
        self.curve = f"{LATENCY_NAMES[what]}, peers thinking {THINK_MS} ms"
        self.addition = "proxy_preconnect" if preconnect else ""
        title = f"latency of {self.curve}, median" + (f", {self.addition}" if preconnect else "")
        super().__init__(Figure(title, "ms", 1e-3, target=LATENCY_TARGETS[what], elapsed=True))

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        options: dict[str, Any] = {
            "think": THINK_MS, "auth_port": bench.stage.thinking_auth_port, "seconds": bench.seconds / 2
        }  # fmt: skip
        if self._what == "envelope":
            options |= {"protocol": "smtp", "envelope": True}
        else:
            options["protocol"] = self._what
        with bench.load(proxy, "logins", self._block, **options) as load:
            result, part = under_load(bench, proxy, load, "logins")
        return replace(part, values=self._values(result["latency_us"]["p50"]))

    def seconds_each(self, bench: Bench) -> float:
        return bench.seconds / 2 + self.overhead
