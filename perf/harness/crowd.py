"""Whether more sessions or more workers make a login dearer: each proxy against itself."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from .bench import Bench, Scenario, Turns, under_load
from .figures import Against, Figure, Slice, Subject, Target
from .loadgen import Loadgen
from .measure import MeasurementError, Processor, descriptors, voluntary_switches
from .proxies import START, Proxy

FULL_HOUSE = 9000
HOUSES = (1000, 3000, FULL_HOUSE)  # idle sessions
MANY_WORKERS = 8
ACCEPTS = 50
STAYING = 200
APART = 0.002  # seconds between two of them: every worker sleeps again


class LoginsBesideIdle(Scenario):
    """Logins on a proxy that holds idle sessions, and on another of the same kind that holds none.

    One load generator serves as the backend of both, so it has the same to do for either. The idle sessions
    are of another protocol than the logins, and no other proxy's are there: else the kernel would search long
    for a port from which the backend that all of them share can be connected to.
    """

    key = "crowd"
    apart = True

    def __init__(self, sessions: int) -> None:
        self.sessions = sessions
        self.condition = f"{sessions:,} idle"
        if sessions != FULL_HOUSE:
            self.rounds = 6  # for the plot alone
        super().__init__(
            Figure(
                f"processor time per login beside {sessions:,} idle sessions, against none",
                "µs", 1e6, Against.OWN, Target(1.1, 1.0) if sessions == FULL_HOUSE else None,
            )
        )  # fmt: skip

    @contextmanager
    def turns(self, bench: Bench, proxies: Sequence[Proxy]) -> Iterator[Turns]:
        with ExitStack() as stack:
            stack.enter_context(bench.load(proxies[0], "serve", "imap", seconds=0))
            found: Turns = {}
            for proxy in proxies:
                for condition in ("", self.condition):
                    fresh = stack.enter_context(bench.started(proxy.variant))
                    if condition:
                        idle: dict[str, Any] = {"sessions": self.sessions, "seconds": 60}
                        stack.enter_context(bench.load(fresh, "idle", "pop3", serves=[], **idle)).run()
                    found[Subject(proxy.name, condition)] = partial(self.slice, bench, fresh)
            yield found

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        with bench.load(proxy, "logins", "imap", serves=[]) as load:
            _, part = under_load(bench, proxy, load, "logins")
        return replace(part, values=self._values(part.cost))

    def subjects(self, proxies: int) -> int:
        return 2 * proxies


class TwoWorkers(Scenario):
    """Logins on a proxy of two workers, and on two proxies of one worker each.

    Either way a worker is pinned to each core, and two load generators have half of the clients each and
    run where there is room: what is compared is two workers that share sockets and memory with two
    that do not.
    """

    key = "workers"
    condition = "2 workers"

    def __init__(self) -> None:
        title = "processor time per login with 2 workers, against 1"
        super().__init__(Figure(title, "µs", 1e6, Against.OWN, Target(1.1, 1.0)))

    @contextmanager
    def turns(self, bench: Bench, proxies: Sequence[Proxy]) -> Iterator[Turns]:
        cores = [bench.stage.proxy_core, bench.stage.load_core]
        with ExitStack() as stack:
            stack.enter_context(bench.load(proxies[0], "serve", "imap", seconds=0, cores=set(cores)))
            found: Turns = {}
            for proxy in proxies:
                alone = [stack.enter_context(bench.started(proxy.variant, cores=[core])) for core in cores]
                both = stack.enter_context(bench.started(proxy.variant, workers=2, cores=cores))
                found[Subject(proxy.name)] = partial(self._slice_of, bench, alone)
                found[Subject(proxy.name, self.condition)] = partial(self.slice, bench, both)
            yield found

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        return self._slice_of(bench, [proxy, proxy])

    def _slice_of(self, bench: Bench, proxies: Sequence[Proxy]) -> Slice:
        """A load on each; the same proxy twice has both on its one port."""
        cores = {bench.stage.proxy_core, bench.stage.load_core}
        half = max(1, bench.concurrency // 2)
        workers = {worker for proxy in proxies for worker in proxy.server.workers}
        with ExitStack() as stack:
            loads: list[Loadgen] = [
                stack.enter_context(
                    bench.load(proxy, "logins", "imap", serves=[], cores=cores, concurrency=half)
                )
                for proxy in proxies
            ]
            before = Processor.of(*workers)
            for load in loads:
                load.begin()
            results = [load.result() for load in loads]
            used = Processor.of(*workers).since(before)
        part = Slice(
            used=used, workers=len(workers), seconds=max(result["seconds"] for result in results),
            done=sum(result["logins"] for result in results),
        )  # fmt: skip
        return replace(part, values=self._values(part.cost))

    def subjects(self, proxies: int) -> int:
        return 2 * proxies


class WakeUps(Scenario):
    """Connections that come one at a time while all workers sleep.

    How often did a worker's thread wake up and go to sleep again (``voluntary_ctxt_switches``)? One does
    it to accept and to greet; more would be workers that were woken for nothing. What they do in the same
    time without connections does not count.
    """

    key = "workers"
    overhead = 0.0

    def __init__(self) -> None:
        title = f"wake-ups per accepted connection, {MANY_WORKERS} workers"
        super().__init__(Figure(title, "", 1.0, Against.NOTHING, Target(1.1, 1.0)))

    @contextmanager
    def turns(self, bench: Bench, proxies: Sequence[Proxy]) -> Iterator[Turns]:
        with ExitStack() as stack:
            found: Turns = {}
            for proxy in proxies:
                fresh = stack.enter_context(bench.started(proxy.variant, workers=MANY_WORKERS))
                bench.warm_up(fresh)
                found[Subject(proxy.name)] = partial(self.slice, bench, fresh)
            yield found

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        workers = proxy.server.workers
        began, before = time.monotonic(), voluntary_switches(workers)
        with ExitStack() as stack:
            for _ in range(ACCEPTS):
                stack.enter_context(_greeted(proxy))
                time.sleep(APART)
            woken = voluntary_switches(workers) - before
            took = time.monotonic() - began
        time.sleep(APART * 10)  # for the ends of all of them
        before = voluntary_switches(workers)
        time.sleep(took)
        woken -= voluntary_switches(workers) - before
        return Slice(self._values(woken / ACCEPTS))

    def seconds_each(self, bench: Bench) -> float:
        return 2.2 * ACCEPTS * APART + 0.1


class Balance(Scenario):
    """Clients that come one after the other and stay: which share of them has the busier of two workers?"""

    key = "workers"

    def __init__(self) -> None:
        title = f"share of the busier of 2 workers, {STAYING} sessions"
        super().__init__(Figure(title, "%", 100.0, Against.NOTHING, Target(0.60, 0.55)))

    @contextmanager
    def turns(self, bench: Bench, proxies: Sequence[Proxy]) -> Iterator[Turns]:
        cores = [bench.stage.proxy_core, bench.stage.load_core]
        with ExitStack() as stack:
            found: Turns = {}
            for proxy in proxies:
                fresh = stack.enter_context(bench.started(proxy.variant, workers=2, cores=cores))
                bench.warm_up(fresh)
                found[Subject(proxy.name)] = partial(self.slice, bench, fresh)
            yield found

    def slice(self, bench: Bench, proxy: Proxy) -> Slice:
        workers = proxy.server.workers
        before = [descriptors(worker) for worker in workers]
        with ExitStack() as stack:
            for _ in range(STAYING):
                stack.enter_context(_greeted(proxy))
            shares = [descriptors(worker) - idle for worker, idle in zip(workers, before, strict=True)]
        while any(descriptors(worker) > idle for worker, idle in zip(workers, before, strict=True)):
            time.sleep(APART)
        return Slice(self._values(max(shares) / STAYING))

    def seconds_each(self, bench: Bench) -> float:
        return 0.1


def _greeted(proxy: Proxy) -> socket.socket:
    """A connection that has its greeting; raises MeasurementError when none comes."""
    try:
        client = socket.create_connection(("127.0.0.1", proxy.ports["imap"]), START)
        greeting = client.recv(512)
    except OSError as error:
        raise MeasurementError(f"{proxy.name} does not greet: {error}") from error
    if not greeting:
        raise MeasurementError(f"{proxy.name} closed a connection without a greeting")
    return client
