"""What every scenario stands on: loads, proxies to put them on, and the account of what they used."""

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .configuration import make_certificates
from .figures import Figure, Slice, Subject
from .loadgen import Loadgen
from .machine import LOADGEN, Cores, Nginx, Ports
from .measure import MeasurementError, Processor, core_busy
from .proxies import Proxy, Stage, Variant

CONCURRENCY = 32  # logins under way at once
TLS_CROWD = 16  # times as many clients at once over TLS: nginx's logins wait for delayed ACKs meanwhile
WARM_UP = 50  # logins before the first measurement: proof that it works, and first-use costs paid

Turns = dict[Subject, Callable[[], Slice]]


@dataclass(frozen=True)
class Bench:
    """The bounds of the run and the stage it stands on."""

    stage: Stage
    seconds: float  # of one slice
    concurrency: int  # logins under way at once
    own_auth: bool  # the load generator is the auth server

    def load(
        self, proxy: Proxy, scenario: str, block: str, *, protocol: str | None = None,
        serves: Sequence[str] | None = None, auth_port: int = 0, **options: Any,
    ) -> Loadgen:  # fmt: skip
        """A load on the proxy's server block of this name, in ``protocol`` (of the same name, if not given).

        It serves as backend of the protocols in ``serves`` (None: all), and then as auth server, on
        ``auth_port`` if it is given.
        """
        options.setdefault("seconds", self.seconds)
        options.setdefault("concurrency", self.concurrency)
        backends = self.stage.backends
        if serves is not None:
            backends = {name: backends[name] for name in serves}
        auth = auth_port or (self.stage.auth_port if self.own_auth and backends else None)
        return Loadgen(LOADGEN, scenario, proxy.ports[block], protocol or block, backends, auth, **options)

    def warm_up(self, proxy: Proxy) -> None:
        """A few logins of each protocol; raises MeasurementError when it does not work."""
        for protocol in self.stage.backends:
            with self.load(proxy, "logins", protocol, count=WARM_UP, seconds=10) as load:
                load.run()

    @property
    def tls_concurrency(self) -> int:
        """So many TLS logins under way that one is always due: a worker that waits is dearer for each."""
        return TLS_CROWD * self.concurrency

    @contextmanager
    def ready(self, variants: Sequence[Variant]) -> Iterator[list[Proxy]]:
        """All of them, started and warmed up."""
        with ExitStack() as stack:
            proxies = [stack.enter_context(self.started(variant)) for variant in variants]
            for proxy in proxies:
                self.warm_up(proxy)
            yield proxies

    @contextmanager
    def started(self, variant: Variant, workers: int = 1, cores: Sequence[int] = ()) -> Iterator[Proxy]:
        """A proxy of its own, as Stage.start() makes it; stopped in the end. Errors bring its last words."""
        proxy = self.stage.start(variant, workers, cores)
        try:
            yield proxy
            proxy.server.check()
        except MeasurementError as error:
            raise MeasurementError(f"{error}\n{variant.name} wrote: {proxy.server.words()}") from None
        finally:
            proxy.server.stop()


@contextmanager
def open_bench(
    nginx: Nginx, cores: Cores, seconds: float, concurrency: int, *,
    own_auth: bool = False, user: str | None = None, log_level: str = "error",
) -> Iterator[Bench]:  # fmt: skip
    """A bench with its auth server: nginx's http, unless the load generator is to be it (``own_auth``)."""
    user = user or ("nobody nogroup" if os.geteuid() == 0 else None)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastmail-perf-")))
        directory.chmod(0o755)
        make_certificates(directory)
        stage = Stage(directory, Ports(), cores.proxy, cores.load, user, log_level)
        if not own_auth:
            stack.callback(stage.start_auth(nginx).stop)
        yield Bench(stage, seconds, concurrency, own_auth)


class Scenario(ABC):
    """Figures of one kind of load."""

    key: str
    rounds: int | None = None  # at most; None: as many as the run has
    beside = False  # whether fastmail's other settings are measured too (Variant.beside)
    apart = False  # True: one proxy after the other, for figures that are held against its own
    curve = ""  # what its latencies are, in the plot of them; empty: not plotted
    addition = ""  # a directive of fastmail that sets this scenario apart from another of the same curve
    overhead = 0.15  # seconds of a slice beyond its load, for the estimate of what is left

    def __init__(self, *figures: Figure) -> None:
        self.figures = figures

    @property
    def title(self) -> str:
        return self.figures[0].title

    @abstractmethod
    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        """Raises MeasurementError when anything failed: a slice with a failure gives no figure."""

    @contextmanager
    def turns(self, bench: Bench, proxies: Sequence[Proxy]) -> Iterator[Turns]:
        """Who takes turns, and how a slice of each is measured."""
        yield {Subject(proxy.name): partial(self.slice, bench, proxy) for proxy in proxies}

    def seconds_each(self, bench: Bench) -> float:
        """About how long a slice takes."""
        return bench.seconds + self.overhead

    def subjects(self, proxies: int) -> int:
        """How many take turns."""
        return proxies

    def _values(self, *values: float) -> dict[str, float]:
        return {figure.title: value for figure, value in zip(self.figures, values, strict=True)}


@dataclass(frozen=True)
class Measured:
    """A scenario and its slices."""

    scenario: Scenario
    slices: dict[Subject, list[Slice]]


def under_load(bench: Bench, proxy: Proxy, load: Loadgen, counted: str) -> tuple[dict[str, Any], Slice]:
    """Runs the load; the slice has no values yet, only what the workers used for what was counted."""
    core = bench.stage.proxy_core
    busy = core_busy(core)
    before = Processor.of(*proxy.server.workers)
    result = load.run()
    used = Processor.of(*proxy.server.workers).since(before)
    if not result[counted]:
        raise MeasurementError(f"{proxy.name}: nothing was done in the slice")
    return result, Slice(
        used=used, others=core_busy(core) - busy - used.total,
        seconds=result["seconds"], done=result[counted],
        quantiles=dict(result.get("latency_quantiles_us", [])),
    )  # fmt: skip
