"""The command line, and the order in which slices are run."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import machine
from .bench import Bench, Measured, Scenario, open_bench
from .configuration import CERTIFICATES, PROTOCOLS, own_lines
from .figures import Slice, Subject
from .measure import MeasurementError
from .progress import Progress
from .proxies import Proxy, Variant, fastmail_variant, nginx_variant
from .results import Results
from .scenarios import KEYS, most_sessions, scenarios

ROUNDS = 20
PAGE = machine.ROOT / "perf" / "results.md"
DATA = machine.ROOT / "build" / "perf" / "results.json"


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="perf/run",
        description="Measures fastmail and nginx side by side, one pinned worker each, slice by slice.",
    )
    parse.add_argument("--quick", action="store_true", help=f"5 rounds instead of {ROUNDS}")
    parse.add_argument("--rounds", type=int, metavar="N", help="slices of each proxy in each scenario")
    parse.add_argument("--slice", type=float, metavar="SECONDS", default=0.5, help="length of a slice (0.5)")
    parse.add_argument("--proxy", choices=("fastmail", "nginx", "both"), default="both")
    parse.add_argument("--nginx", type=Path, metavar="PATH", help="measure this nginx binary too")
    parse.add_argument("--engine", choices=("thread", "nested", "both"), default="thread",
                       help="arrangement of fastmail's loops")  # fmt: skip
    parse.add_argument("--keepalive", type=int, metavar="N", default=16,
                       help="fastmail's auth_http_keepalive (16)")  # fmt: skip
    parse.add_argument("--protocols", default=",".join(PROTOCOLS), metavar="LIST",
                       help=f"of {','.join(PROTOCOLS)} (all)")  # fmt: skip
    parse.add_argument("--certificates", default="ecdsa", metavar="LIST", help="of ecdsa,rsa (ecdsa)")
    parse.add_argument("--scenario", default=",".join(KEYS), metavar="LIST",
                       help=f"of {','.join(KEYS)} (all)")  # fmt: skip
    parse.add_argument("--auth", choices=("nginx", "loadgen"), default="nginx",
                       help="who answers auth_http: nginx's http, or the load generator")  # fmt: skip
    parse.add_argument("--concurrency", type=int, default=32, help="logins under way at once (32)")
    parse.add_argument("--idle-sessions", type=int, default=2000, metavar="N",
                       help="sessions held for the memory figure (2000); a quarter over TLS")  # fmt: skip
    parse.add_argument("--proxy-core", type=int, metavar="N", help="core of the proxy's worker (the first)")
    parse.add_argument("--load-core", type=int, metavar="N", help="core of everything else (the second)")
    parse.add_argument("--log-level", default="error", help="of the proxies' error_log (error)")
    parse.add_argument("--user", help="user and group of the workers (nobody nogroup, when run by root)")
    parse.add_argument("--write", type=Path, metavar="FILE",
                       help="write Markdown, and plots beside it (a whole run: perf/results.md)")  # fmt: skip
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
    fastmail = [fastmail_variant(engine, options.keepalive, own_lines()) for engine in engines]
    return fastmail if options.proxy == "fastmail" else found + fastmail


def _interleave(
    bench: Bench, scenario: Scenario, proxies: Sequence[Proxy], rounds: int, progress: Progress
) -> Measured:
    """A B C, C B A, A B C, …: what changes on the machine with time meets everybody alike."""
    found: dict[Subject, list[Slice]] = {}
    progress.begin(scenario.title)
    for group in [[proxy] for proxy in proxies] if scenario.apart else [proxies]:
        with scenario.cast(bench, group) as cast:
            turns = list(cast)
            found |= {subject: [] for subject in turns}
            for number in range(rounds):
                for subject in reversed(turns) if number % 2 else turns:
                    words = f"{scenario.title}: slice {number + 1} of {rounds}, {subject}"
                    progress.show(words)
                    try:
                        found[subject].append(cast[subject]())
                    except MeasurementError as error:
                        raise MeasurementError(f"{words}:\n{error}") from None
                    progress.add(scenario.seconds_each(bench))
    for proxy in proxies:
        proxy.server.check()
    return Measured(scenario, found)


def _measure(options: argparse.Namespace, variants: list[Variant], nginx: machine.Nginx) -> Results:
    work = scenarios(
        options.keys, _words(options.protocols, PROTOCOLS, "--protocols"),
        _words(options.certificates, list(CERTIFICATES), "--certificates"), options.idle_sessions,
    )  # fmt: skip
    rounds = {scenario: min(options.rounds, scenario.rounds or options.rounds) for scenario in work}
    results = Results(
        [variant.name for variant in variants if variant.baseline], [variant.name for variant in variants]
    )
    with open_bench(
        nginx, options.cores, options.slice, options.concurrency,
        own_auth=options.auth == "loadgen", user=options.user, log_level=options.log_level,
    ) as bench, bench.ready(variants) as proxies:  # fmt: skip
        progress = Progress(sum(s.seconds_each(bench) * s.subjects(len(proxies)) * rounds[s] for s in work))
        for scenario in work:
            results.add(_interleave(bench, scenario, proxies, rounds[scenario], progress))
        progress.end()
        for proxy in proxies:
            if lines := proxy.server.errors():
                results.complain(proxy.name, lines)
    return results


def _head(options: argparse.Namespace, variants: list[Variant]) -> list[tuple[str, str]]:
    """What a reader needs to know to judge the figures, or to measure them again."""
    head = [*machine.describe()]
    fastmail = [variant for variant in variants if variant.name.startswith("fastmail")]
    if fastmail:
        head.append(("fastmail", machine.fastmail_versions()))
        unknown = [f"`{line}`" for line in own_lines() if line not in fastmail[0].accepted]
        if unknown:
            head.append(("not known to this fastmail, and so not used", ", ".join(unknown)))
    baselines = [variant.name for variant in variants if variant.baseline]
    head.append(("compared with", ", ".join(baselines) or "nothing"))
    head.append(("auth server", "nginx's http" if options.auth == "nginx" else "the load generator"))
    head.append(("slices", f"{options.rounds} of {options.slice:g} s for each proxy, interleaved"))
    head.append(("load", f"{options.concurrency} logins at once"))
    head.append(("date", time.strftime("%Y-%m-%d")))
    return head


def _is_whole(options: argparse.Namespace) -> bool:
    """Has the run everything that the page of results is to show?"""
    return (
        options.proxy == "both"
        and not options.self_check
        and options.rounds >= ROUNDS
        and set(options.keys) == set(KEYS)
        and set(options.protocols.split(",")) == set(PROTOCOLS)
    )


def _write(options: argparse.Namespace, results: Results, head: list[tuple[str, str]]) -> None:
    """Markdown with its plots, which are left out when there is nothing for them to show."""
    from .plots import draw

    data = results.data()
    DATA.write_text(json.dumps(data))
    options.write.write_text(results.markdown(head, draw(data, options.write.parent)))


def _run(options: argparse.Namespace) -> int:
    options.keys = _words(options.scenario, KEYS, "--scenario")
    machine.build_loadgen()
    nginx = machine.Nginx.at(machine.NGINX)
    options.cores = machine.Cores.chosen(options.proxy_core, options.load_core)
    machine.raise_descriptor_limit(most_sessions(options.keys, options.idle_sessions))
    options.cores.take_load()
    variants = _variants(options, nginx)
    with machine.machine_alone():
        results = _measure(options, variants, nginx)
    print(results.text())
    if options.write is None and _is_whole(options):
        options.write = PAGE
    if options.write:
        _write(options, results, _head(options, variants))
    return _judge(results) if options.self_check else 0


def _judge(results: Results) -> int:
    wrong = results.unlike()
    if wrong:
        print("self-check: FAILED: " + "; ".join(wrong))
        return 1
    print("self-check: no ratio is off 1 by more than 5 %, its interval considered")
    return 0


def main() -> int:
    """Exit status 0: everything was measured; 1: something failed, or the self-check; 2: wrong set-up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # proxies are stopped on this way out as well
    options = parser().parse_args()
    options.rounds = options.rounds or (5 if options.quick else ROUNDS)
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
