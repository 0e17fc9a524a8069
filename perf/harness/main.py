"""The command line, and the order in which slices are run."""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import machine
from .measure import MeasurementError
from .proxies import Proxy, Stage, Variant, fastmail_variant, make_certificates, nginx_variant
from .results import Results
from .scenarios import KEYS, Bench, Scenario, Slice, scenarios

PROTOCOLS = ("imap", "pop3", "smtp")


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="perf/run",
        description="Measures fastmail and nginx side by side, one pinned worker each, slice by slice.",
    )
    parse.add_argument("--quick", action="store_true", help="5 rounds of 1 s instead of 20 of 1.5 s")
    parse.add_argument("--rounds", type=int, help="slices of each proxy in each scenario")
    parse.add_argument("--slice", type=float, metavar="SECONDS", help="length of a slice")
    parse.add_argument("--proxy", choices=("fastmail", "nginx", "both"), default="both")
    parse.add_argument("--nginx", type=Path, metavar="PATH", help="measure this nginx binary too")
    parse.add_argument("--engine", choices=("thread", "nested", "both"), default="thread",
                       help="arrangement of fastmail's loops")  # fmt: skip
    parse.add_argument("--protocols", default="imap", metavar="LIST", help="of imap,pop3,smtp (imap)")
    parse.add_argument("--scenario", default=",".join(KEYS), metavar="LIST",
                       help=f"of {','.join(KEYS)} (all)")  # fmt: skip
    parse.add_argument("--auth", choices=("nginx", "loadgen"), default="nginx",
                       help="who answers auth_http: nginx's http, or the load generator")  # fmt: skip
    parse.add_argument("--concurrency", type=int, default=32, help="logins under way at once (32)")
    parse.add_argument("--idle-sessions", type=int, default=2000, metavar="N", help="sessions held (2000)")
    parse.add_argument("--proxy-core", type=int, metavar="N", help="core of the proxy's worker (the first)")
    parse.add_argument("--load-core", type=int, metavar="N", help="core of everything else (the second)")
    parse.add_argument("--log-level", default="error", help="of the proxies' error_log (error)")
    parse.add_argument("--user", help="user and group of the workers (nobody nogroup, when run by root)")
    parse.add_argument("--no-build", action="store_true", help="take fastmail's engine as it is")
    parse.add_argument("--write", type=Path, metavar="FILE", help="write the results as Markdown as well")
    parse.add_argument("--self-check", action="store_true",
                       help="measure nginx against itself: the ratios have to be 1")  # fmt: skip
    return parse


def _words(text: str, allowed: Sequence[str], option: str) -> list[str]:
    found = [word for word in text.split(",") if word]
    for word in found:
        if word not in allowed:
            raise machine.SetupError(f'{option}: no "{word}"; there are {", ".join(allowed)}')
    if not found:
        raise machine.SetupError(f"{option}: names nothing")
    return found


def _variants(options: argparse.Namespace, nginx: machine.Nginx) -> list[Variant]:
    found = [nginx_variant(nginx, f"nginx {nginx.version}")]
    if options.self_check:
        return [*found, nginx_variant(nginx, "nginx again", baseline=False)]
    if options.nginx:
        other = machine.Nginx.at(options.nginx)
        suffix = " (given)" if other.version == nginx.version else ""
        found.append(nginx_variant(other, f"nginx {other.version}{suffix}"))
    if options.proxy == "nginx":
        return found
    engines = ("thread", "nested") if options.engine == "both" else (options.engine,)
    fastmail = [fastmail_variant(engine, keepalive) for engine in engines for keepalive in (0, 16)]
    return fastmail if options.proxy == "fastmail" else found + fastmail


def _show(progress: str) -> None:
    """What is being done, on one line of a terminal that the next call takes again."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def _interleave(
    bench: Bench, scenario: Scenario, proxies: list[Proxy], rounds: int
) -> dict[str, list[Slice]]:
    """A B C, C B A, A B C, …: what changes on the machine with time meets every proxy alike."""
    rounds = min(rounds, scenario.rounds or rounds)
    chosen = [proxy for proxy in proxies if scenario.asks_auth or not proxy.variant.auth_only]
    found: dict[str, list[Slice]] = {proxy.name: [] for proxy in chosen}
    for number in range(rounds):
        for proxy in reversed(chosen) if number % 2 else chosen:
            progress = f"{scenario.figures[0].title}: round {number + 1} of {rounds}, {proxy.name}"
            _show(progress)
            try:
                found[proxy.name].append(scenario.slice(bench, proxy))
                proxy.server.check()
            except MeasurementError as error:
                raise MeasurementError(f"{progress}:\n{error}\n{proxy.server.words()}") from None
    _show("")
    return found


def _measure(options: argparse.Namespace, variants: list[Variant], nginx: machine.Nginx) -> Results:
    protocols = _words(options.protocols, PROTOCOLS, "--protocols")
    work = scenarios(protocols, _words(options.scenario, KEYS, "--scenario"))
    ports = machine.Ports()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastmail-perf-")))
        make_certificates(directory)
        user = options.user or ("nobody nogroup" if os.geteuid() == 0 else None)
        stage = Stage(
            directory, ports, {name: ports.take() for name in protocols}, ports.take(),
            options.proxy_core, options.load_core, user, options.log_level,
        )  # fmt: skip
        bench = Bench(
            stage, options.slice, options.concurrency, options.idle_sessions, options.auth == "loadgen"
        )
        if not bench.own_auth:
            stack.callback(stage.start_auth(nginx).stop)
        proxies = []
        for variant in variants:
            proxy = bench.start(variant)
            stack.callback(proxy.server.stop)
            proxies.append(proxy)
        results = Results()
        for scenario in work:
            slices = _interleave(bench, scenario, proxies, options.rounds)
            results.add(scenario, slices, [variant.name for variant in variants if variant.baseline])
        for proxy in proxies:
            if lines := proxy.server.errors():
                results.complain(proxy.name, lines)
    return results


def _head(options: argparse.Namespace, variants: list[Variant]) -> list[tuple[str, str]]:
    """What a reader needs to know to judge the figures, or to measure them again."""
    head = [*machine.describe()]
    if any(variant.name.startswith("fastmail") for variant in variants):
        head.append(("fastmail", machine.fastmail_versions()))
    baselines = [variant.name for variant in variants if variant.baseline]
    head.append(("compared with", ", ".join(baselines) or "nothing"))
    head.append(("auth server", "nginx's http" if options.auth == "nginx" else "the load generator"))
    head.append(("slices", f"{options.rounds} of {options.slice:g} s for each proxy, interleaved"))
    head.append(("load", f"{options.concurrency} logins at once; {options.idle_sessions} idle sessions"))
    head.append(("date", time.strftime("%Y-%m-%d")))
    return head


def _run(options: argparse.Namespace) -> int:
    machine.install_packages()
    machine.build_loadgen()
    nginx = machine.Nginx.at(machine.NGINX)
    variants = _variants(options, nginx)
    if not options.no_build and any(variant.name.startswith("fastmail") for variant in variants):
        machine.build_engine()
    proxy_core, load_core = machine.default_cores()
    options.proxy_core = proxy_core if options.proxy_core is None else options.proxy_core
    options.load_core = load_core if options.load_core is None else options.load_core
    machine.raise_descriptor_limit(options.idle_sessions)
    machine.take_core(options.load_core)
    with machine.machine_alone():
        results = _measure(options, variants, nginx)
    print(results.text())
    if options.write:
        options.write.write_text(results.markdown(_head(options, variants)))
    if options.self_check:
        wrong = results.unlike()
        print(
            "self-check: "
            + (
                "FAILED: " + "; ".join(wrong)
                if wrong
                else "no ratio is off 1 by more than 5 %, its interval considered"
            )
        )
        return 1 if wrong else 0
    return 0


def main() -> int:
    """Exit status 0: everything was measured; 1: something failed, or the self-check; 2: wrong set-up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # proxies are stopped on this way out as well
    options = parser().parse_args()
    options.rounds = options.rounds or (5 if options.quick else 20)
    options.slice = options.slice or (1.0 if options.quick else 1.5)
    try:
        return _run(options)
    except MeasurementError as error:
        print(f"\nperf/run: {error}", file=sys.stderr)
        return 1
    except machine.SetupError as error:
        print(f"perf/run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
