"""What is measured: each scenario turns one slice of load on one proxy into figures."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from .loadgen import Loadgen
from .machine import LOADGEN
from .measure import MeasurementError, Processor, core_busy, counted_system_calls, private_dirty
from .proxies import CERTIFICATES, Proxy, Stage, Variant

WARM_UP = 50  # logins before the first measurement: proof that it works, and first-use costs paid
IDLE_SETTLES = 1.0  # seconds between the last login and the look at the memory
STRACE_LOGINS = 500

# The project's expectation of each figure, times nginx.
LOGIN, GIGABYTE, MEMORY, EXCHANGE = 0.65, 0.35, 0.10, 1.1
TLS_LOGIN = {("ecdsa", "1.3", False): 0.85, ("ecdsa", "1.3", True): 0.80, ("ecdsa", "1.2", True): 0.65}
TLS_GIGABYTE, TLS_MEMORY = 0.5, 0.65


@dataclass(frozen=True)
class Figure:
    """One row of the report. ``scale`` turns the measured unit into the printed one."""

    title: str
    unit: str
    scale: float = 1.0
    expectation: float | None = None

    @property
    def is_cost(self) -> bool:
        """Of the worker alone; a latency is the whole machine's."""
        return not self.title.startswith("latency")


@dataclass(frozen=True)
class Slice:
    """What one slice gave: values by figure title, and what the notes are made of."""

    values: dict[str, float]
    used: Processor | None = None
    others: float = 0.0  # seconds that the worker's core worked for anything else
    seconds: float = 0.0
    done: float = 0.0  # logins, exchanges or bytes

    @property
    def cost(self) -> float:
        """Seconds of processor time for each that was done."""
        assert self.used is not None
        return self.used.total / self.done


class Scenario(ABC):
    """Figures of one kind of load, spoken in one protocol."""

    key: str
    asks_auth = True  # False: variants that differ only in how they ask the auth server need it once
    rounds: int | None = None  # at most; None: as many as the run has

    def __init__(self, protocol: str, *figures: Figure) -> None:
        self.protocol = protocol
        self.figures = figures

    @abstractmethod
    def slice(self, bench: "Bench", proxy: Proxy) -> Slice:
        """Raises MeasurementError when anything failed: a slice with a failure gives no figure."""

    def _values(self, *values: float) -> dict[str, float]:
        return {figure.title: value for figure, value in zip(self.figures, values, strict=True)}


@dataclass(frozen=True)
class Bench:
    """The bounds of the run and the stage it stands on."""

    stage: Stage
    seconds: float  # of one slice
    concurrency: int  # logins under way at once
    idle_sessions: int
    own_auth: bool  # the load generator is the auth server

    def load(
        self, proxy: Proxy, scenario: str, protocol: str, *, door: str | None = None, **options: float | bool
    ) -> Loadgen:
        """``door`` names the port of the proxy, if it is not the protocol's."""
        options.setdefault("seconds", self.seconds)
        options.setdefault("concurrency", self.concurrency)
        auth = self.stage.auth_port if self.own_auth else None
        return Loadgen(
            LOADGEN, scenario, proxy.ports[door or protocol], protocol, self.stage.backends, auth, **options
        )  # fmt: skip

    def start(self, variant: Variant) -> Proxy:
        """A proxy that has proven with a few logins of each protocol that it works."""
        proxy = self.stage.start(variant)
        try:
            for protocol in self.stage.backends:
                with self.load(proxy, "logins", protocol, count=WARM_UP, seconds=10) as load:
                    load.run()
        except MeasurementError as error:
            words = proxy.server.words()
            proxy.server.stop()
            raise MeasurementError(f"{variant.name}: {error}\n{words}") from None
        return proxy


def _under_load(bench: Bench, proxy: Proxy, load: Loadgen, counted: str) -> tuple[dict[str, Any], Slice]:
    """Runs the load; the slice has no values yet, only what the worker used for what was counted."""
    busy = core_busy(bench.stage.proxy_core)
    before = Processor.of(proxy.worker)
    result = load.run()
    used = Processor.of(proxy.worker).since(before)
    others = core_busy(bench.stage.proxy_core) - busy - used.total
    if not result[counted]:
        raise MeasurementError(f"{proxy.name}: nothing was done in the slice")
    return result, Slice({}, used, max(0.0, others), result["seconds"], result[counted])


class Logins(Scenario):
    """Clients that connect, log in, log out and close, as fast as they are served."""

    key = "logins"

    def __init__(self, protocol: str) -> None:
        name = protocol.upper()
        super().__init__(
            protocol,
            Figure(f"processor time per {name} login", "µs", 1e6, LOGIN),
            Figure(f"latency of {name} logins, p99", "ms", 1e-3),
        )

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        with bench.load(proxy, "logins", self.protocol) as load:
            result, part = _under_load(bench, proxy, load, "logins")
        if result["backend_connections"] != result["logins"]:
            raise MeasurementError(
                f"{proxy.name}: {result['backend_connections']} backend connections"
                f" for {result['logins']} logins"
            )
        return replace(part, values=self._values(part.cost, result["latency_us"]["p99"]))


class SystemCallsOfLogins(Scenario):
    """The same under strace, which slows the worker: only the number of calls is used."""

    key = "syscalls"
    rounds = 3

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol, Figure(f"system calls per {protocol.upper()} login", ""))
        self.calls: dict[str, dict[str, float]] = {}  # proxy -> call -> number per login, last round

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        bounds = {"count": STRACE_LOGINS, "seconds": 30}
        with (
            bench.load(proxy, "logins", self.protocol, **bounds) as load,
            counted_system_calls(proxy.worker, proxy.server.directory / "strace") as counts,
        ):
            logins = load.run()["logins"]
        self.calls[proxy.name] = {name: number / logins for name, number in counts.calls.items()}
        return Slice(self._values(counts.total / logins))


class Idle(Scenario):
    """Sessions that have logged in and say nothing, on a proxy started for this slice alone."""

    key = "idle"
    asks_auth = False

    def __init__(self, protocol: str) -> None:
        super().__init__(
            protocol, Figure(f"memory per idle {protocol.upper()} session", "bytes", 1.0, MEMORY)
        )
        self._tls: dict[str, str] = {}
        self._door: str | None = None

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        fresh = bench.start(proxy.variant)
        bounds: dict[str, Any] = {"sessions": bench.idle_sessions, "seconds": 30, **self._tls}
        try:
            with bench.load(fresh, "idle", self.protocol, door=self._door, **bounds) as load:
                before = private_dirty(fresh.worker)
                load.run()
                time.sleep(IDLE_SETTLES)
                held = private_dirty(fresh.worker) - before
            fresh.server.check()
        finally:
            fresh.server.stop()
        return Slice(self._values(held / bench.idle_sessions))


class Bulk(Scenario):
    """Four sessions that fetch, or store, messages of 16 MB."""

    key = "bulk"
    asks_auth = False

    def __init__(self, protocol: str, upload: bool) -> None:
        direction = "to the backend" if upload else "to the client"
        super().__init__(protocol, Figure(f"processor time per GB {direction}", "ms", 1e3, GIGABYTE))
        self._upload = upload

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        with bench.load(proxy, "bulk", self.protocol, sessions=4, upload=self._upload) as load:
            _, part = _under_load(bench, proxy, load, "bytes")
        return replace(part, values=self._values(part.cost * 1e9))


class Exchange(Scenario):
    """Sixteen sessions that send NOOP, wait for the answer, and send again."""

    key = "exchange"
    asks_auth = False

    def __init__(self, protocol: str) -> None:
        super().__init__(
            protocol,
            Figure("processor time per small exchange", "µs", 1e6, EXCHANGE),
            Figure("latency of small exchanges, p99", "µs"),
        )

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        with bench.load(proxy, "exchange", self.protocol) as load:
            result, part = _under_load(bench, proxy, load, "exchanges")
        return replace(part, values=self._values(part.cost, result["latency_us"]["p99"]))


class TLSLogins(Scenario):
    """Logins over TLS, with full handshakes, or with resumed ones (by tickets)."""

    key = "tls-logins"

    def __init__(self, protocol: str, kind: str, version: str, resume: bool) -> None:
        self._kind, self._version, self._resume = kind, version, resume
        how = "resumed" if resume else "full"
        super().__init__(
            protocol,
            Figure(
                f"processor time per {protocol.upper()} login, TLS {version}, {kind.upper()}, {how}",
                "µs", 1e6, TLS_LOGIN.get((kind, version, resume)),
            ),
        )  # fmt: skip

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        tls: dict[str, Any] = {"tls": self._version, "resume": self._resume}
        with bench.load(proxy, "logins", self.protocol, door=self._kind, **tls) as load:
            result, part = _under_load(bench, proxy, load, "logins")
        others = result["tls_full"] if self._resume else result["tls_resumed"]
        if others > (bench.concurrency if self._resume else 0):  # each client's first handshake is full
            raise MeasurementError(f"{proxy.name}: {others} handshakes were not what was to be measured")
        return replace(part, values=self._values(part.cost))


class TLSBulk(Scenario):
    """Four sessions that fetch messages of 16 MB over TLS."""

    key = "tls-bulk"
    asks_auth = False

    def __init__(self, protocol: str, version: str) -> None:
        super().__init__(
            protocol, Figure(f"processor time per GB to the client, TLS {version}", "ms", 1e3, TLS_GIGABYTE)
        )
        self._version = version

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        tls: dict[str, Any] = {"tls": self._version}
        with bench.load(proxy, "bulk", self.protocol, door="ecdsa", sessions=4, **tls) as load:
            _, part = _under_load(bench, proxy, load, "bytes")
        return replace(part, values=self._values(part.cost * 1e9))


class TLSIdle(Idle):
    """The same over TLS."""

    key = "tls-idle"

    def __init__(self, protocol: str, version: str) -> None:
        Scenario.__init__(
            self, protocol,
            Figure(f"memory per idle {protocol.upper()} session, TLS {version}", "bytes", 1.0, TLS_MEMORY),
        )  # fmt: skip
        self._tls = {"tls": version}
        self._door = "ecdsa"


def scenarios(protocols: list[str], chosen: list[str]) -> list[Scenario]:
    """In the order of the report. The relay does not depend on the protocol: the first one carries it."""
    everything: list[Scenario] = []
    for protocol in protocols:
        everything += [Logins(protocol), SystemCallsOfLogins(protocol), Idle(protocol)]
    first = protocols[0]
    everything += [Bulk(first, False), Bulk(first, True), Exchange(first)]
    for kind in CERTIFICATES:
        for version in ("1.3", "1.2"):
            everything += [TLSLogins(first, kind, version, resume) for resume in (False, True)]
    for version in ("1.3", "1.2"):
        everything += [TLSBulk(first, version), TLSIdle(first, version)]
    return [scenario for scenario in everything if scenario.key in chosen]


KEYS = ("logins", "syscalls", "idle", "bulk", "exchange", "tls-logins", "tls-bulk", "tls-idle")
