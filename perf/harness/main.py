"""The command line, and the order in which slices are run."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import command, machine
from .bench import CONCURRENCY, TLS_CROWD, Bench, Measured, Scenario, open_bench
from .configuration import CERTIFICATES, PROTOCOLS
from .figures import Slice, Subject, is_fastmail
from .measure import MeasurementError
from .progress import Progress
from .proxies import Proxy, Variant, fastmail_variant, nginx_variant, other_settings
from .results import Results
from .scenarios import KEYS, most_sessions, scenarios

ROUNDS, QUICK_ROUNDS = 20, 5
PAGE = machine.ROOT / "perf" / "results.md"
ADDS = {"nginx", "certificates", "rounds", "write", "proxy_core", "load_core", "user"}
"""Options by which a run measures more or elsewhere; by any other it measures something else."""


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="perf/run",
        description="Measures fastmail and nginx side by side, one pinned worker each, slice by slice.",
    )
    parse.add_argument("--rounds", type=command.whole, metavar="N", default=ROUNDS,
                       help=f"slices of each proxy in each scenario ({ROUNDS})")  # fmt: skip
    parse.add_argument("--quick", dest="rounds", action="store_const", const=QUICK_ROUNDS,
                       help=f"{QUICK_ROUNDS} rounds")  # fmt: skip
    parse.add_argument("--slice", type=command.seconds, metavar="SECONDS", default=0.5,
                       help="length of a slice (0.5)")  # fmt: skip
    parse.add_argument("--proxy", choices=("fastmail", "nginx", "both"), default="both")
    parse.add_argument("--nginx", type=Path, metavar="PATH", help="measure this nginx binary too")
    parse.add_argument("--engine", choices=("thread", "nested", "both"), default="thread",
                       help="arrangement of fastmail's loops")  # fmt: skip
    parse.add_argument("--keepalive", type=int, metavar="N",
                       help="fastmail's auth_http_keepalive (as packaged; logins others too)")  # fmt: skip
    parse.add_argument("--protocols", type=command.some_of(PROTOCOLS), default=list(PROTOCOLS),
                       metavar="LIST", help=f"of {','.join(PROTOCOLS)} (all)")  # fmt: skip
    parse.add_argument("--certificates", type=command.some_of(list(CERTIFICATES)), default=["ecdsa"],
                       metavar="LIST", help=f"of {','.join(CERTIFICATES)} (ecdsa)")  # fmt: skip
    parse.add_argument("--scenario", type=command.some_of(KEYS), default=list(KEYS), metavar="LIST",
                       help=f"of {','.join(KEYS)} (all)")  # fmt: skip
    parse.add_argument("--auth", choices=("nginx", "loadgen"), default="nginx",
                       help="who answers auth_http: nginx's http, or the load generator")  # fmt: skip
    parse.add_argument(
        "--concurrency",
        type=command.whole,
        metavar="N",
        default=CONCURRENCY,
        help=f"logins at once ({CONCURRENCY}); over TLS {TLS_CROWD} times as many",
    )
    parse.add_argument("--idle-sessions", type=command.whole, default=2000, metavar="N",
                       help="sessions held for the memory figure (2000); a quarter over TLS")  # fmt: skip
    parse.add_argument("--proxy-core", type=int, metavar="N", help="core of the proxy's worker (the first)")
    parse.add_argument("--load-core", type=int, metavar="N", help="core of everything else (the second)")
    parse.add_argument("--log-level", default="error", help="of the proxies' error_log (error)")
    parse.add_argument("--user", help="user and group of the workers (nobody nogroup, when run by root)")
    parse.add_argument("--write", type=command.page, metavar="FILE",
                       help="write Markdown, and plots beside it (a whole run: perf/results.md)")  # fmt: skip
    parse.add_argument("--self-check", action="store_true",
                       help="measure nginx against itself: the ratios have to be 1")  # fmt: skip
    return parse


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
    fastmail = [fastmail_variant(engine, options.keepalive) for engine in engines]
    if options.keepalive is None and "thread" in engines and "logins" in options.scenario:
        fastmail += other_settings()
    return fastmail if options.proxy == "fastmail" else found + fastmail


def _interleave(
    bench: Bench, scenario: Scenario, proxies: Sequence[Proxy], rounds: int, progress: Progress
) -> Measured:
    """A B C, C B A, A B C, …: what changes on the machine with time meets everybody alike."""
    found: dict[Subject, list[Slice]] = {}
    progress.begin(scenario.title)
    for group in [[proxy] for proxy in proxies] if scenario.apart else [proxies]:
        with scenario.turns(bench, group) as turns:
            found |= {subject: [] for subject in turns}
            for number in range(rounds):
                for subject in reversed(turns) if number % 2 else turns:
                    words = f"{scenario.title}: slice {number + 1} of {rounds}, {subject}"
                    progress.show(words)
                    try:
                        found[subject].append(turns[subject]())
                    except MeasurementError as error:
                        raise MeasurementError(f"{words}:\n{error}") from None
                    progress.add(scenario.seconds_each(bench))
    for proxy in proxies:
        proxy.server.check()
    return Measured(scenario, found)


def _measure(
    options: argparse.Namespace, variants: list[Variant], nginx: machine.Nginx, cores: machine.Cores
) -> Results:
    work = scenarios(options.scenario, options.protocols, options.certificates, options.idle_sessions)
    rounds = {scenario: min(options.rounds, scenario.rounds or options.rounds) for scenario in work}
    results = Results(
        [variant.name for variant in variants if variant.baseline], [variant.name for variant in variants]
    )
    with open_bench(
        nginx, cores, options.slice, options.concurrency,
        own_auth=options.auth == "loadgen", user=options.user, log_level=options.log_level,
    ) as bench, bench.ready(variants) as proxies:  # fmt: skip
        taking_part = {
            scenario: [proxy for proxy in proxies if scenario.beside or not proxy.variant.beside]
            for scenario in work
        }
        progress = Progress(
            sum(s.seconds_each(bench) * s.subjects(len(taking_part[s])) * rounds[s] for s in work)
        )
        for scenario in work:
            results.add(_interleave(bench, scenario, taking_part[scenario], rounds[scenario], progress))
        progress.end()
        for proxy in proxies:
            if lines := proxy.server.errors():
                results.complain(proxy.name, lines)
    return results


def _head(options: argparse.Namespace, variants: list[Variant]) -> list[tuple[str, str]]:
    """What a reader needs to know to judge the figures, or to measure them again."""
    head = [*machine.describe()]
    if any(is_fastmail(variant.name) for variant in variants):
        head.append(("fastmail", machine.fastmail_versions()))
    baselines = [variant.name for variant in variants if variant.baseline]
    head.append(("compared with", ", ".join(baselines) or "nothing"))
    head.append(("auth server", "nginx's http" if options.auth == "nginx" else "the load generator"))
    head.append(("slices", f"{options.rounds} of {options.slice:g} s for each proxy, interleaved"))
    head.append(("load", f"{options.concurrency} logins at once, {TLS_CROWD * options.concurrency} over TLS"))
    if changed(options):
        head.append(("measured by", f"`{shlex.join(['perf/run', *sys.argv[1:]])}`"))
    head.append(("date", time.strftime("%Y-%m-%d")))
    return head


def changed(options: argparse.Namespace) -> set[str]:
    """The options that are not what they are without being given."""
    usual = parser().parse_args([])
    return {name for name, value in vars(options).items() if value != getattr(usual, name)}


def is_whole(options: argparse.Namespace) -> bool:
    """Has the run everything that the page of results is to show, measured as docs/performance.md says?"""
    enough = options.rounds >= ROUNDS and "ecdsa" in options.certificates
    return enough and changed(options) <= ADDS


def _write(path: Path, results: Results, head: list[tuple[str, str]]) -> None:
    """Markdown with its plots, which are left out when there is nothing for them to show."""
    from .plots import draw

    with command.writing(path):
        path.write_text(results.markdown(head, draw(results.data(), path.parent)))


def _run(options: argparse.Namespace) -> int:
    if options.auth == "loadgen" and "storm" in options.scenario:
        raise machine.SetupError(
            "--auth loadgen: a storm has two load generators; choose others by --scenario"
        )
    machine.build_loadgen()
    nginx = machine.Nginx.at(machine.NGINX)
    cores = machine.Cores.chosen(options.proxy_core, options.load_core)
    machine.raise_descriptor_limit(most_sessions(options.scenario, options.idle_sessions))
    cores.take_load()
    variants = _variants(options, nginx)
    with machine.machine_alone():
        results = _measure(options, variants, nginx, cores)
    print(results.text(), flush=True)
    if path := options.write or (PAGE if is_whole(options) else None):
        _write(path, results, _head(options, variants))
    return _judge(results) if options.self_check else 0


def _judge(results: Results) -> int:
    wrong = results.unlike()
    if wrong:
        print("self-check: FAILED: " + "; ".join(wrong))
        return 1
    print("self-check: no ratio is off 1 by more than 5 %, its interval considered")
    return 0


def main() -> int:
    """The exit status; 1 also when the self-check fails."""
    options = parser().parse_args()
    return command.run("perf/run", lambda: _run(options))
