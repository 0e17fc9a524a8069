"""Where a login's processor time goes: system calls and user code, fastmail's next to nginx's."""

import argparse
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from . import command, machine, report
from .bench import CONCURRENCY, Bench, open_bench, under_load
from .configuration import PROTOCOLS
from .loadgen import Loadgen
from .logins import STRACE_LOGINS
from .measure import MeasurementError, counted_system_calls
from .proxies import Proxy, fastmail_variant, nginx_variant

SLICES = 10  # without any profiler, for what a login costs
SAMPLES_PER_SECOND = 4999
ATTACHES = 0.5  # seconds that perf is given to attach; it says nothing when it has

# Where a sample of user code was, by a part of the name of its file.
LIBRARIES = {
    "_speedups": "fastmail's engine",
    "ngx_mail": "nginx's mail module",
    "nginx": "nginx",
    "libcrypto": "libcrypto, libssl",
    "libssl": "libcrypto, libssl",
    "libc.so": "libc",
    "vdso": "libc",
    "python": "Python",
}
# What a kernel sample belongs to when no system call is in its stack, by a function that is.
ELSEWHERE = {
    "task_work_run": "close",  # the last reference to a socket is given up on the way out
    "asm_exc_page_fault": "page faults",
    "sysvec": "interrupts",
    "common_interrupt": "interrupts",
    "do_syscall_64": "entering and leaving the kernel",
    "entry_SYSCALL": "entering and leaving the kernel",
}


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    protocol: str
    tls: str
    resume: bool

    def on(self, bench: Bench, proxy: Proxy, **bounds: Any) -> Loadgen:
        if self.tls:
            bounds |= {"tls": self.tls, "resume": self.resume}
            bounds.setdefault("concurrency", bench.tls_concurrency)
        block = "ecdsa" if self.tls else self.protocol
        return bench.load(proxy, "logins", block, protocol=self.protocol, **bounds)

    def __str__(self) -> str:
        tls = f" over TLS {self.tls}, {'resumed' if self.resume else 'full'}" if self.tls else ""
        return f"{self.protocol.upper()} login{tls}"


@dataclass(frozen=True)
class Profile:
    """Of one proxy, per login: µs by place (a system call's name, or another), and calls by name."""

    user: Mapping[str, float]
    kernel: Mapping[str, float]
    calls: Mapping[str, float]


@contextmanager
def _sampled(pid: int, data: Path) -> Iterator[None]:
    """Samples the process by the processor clock, each sample with its stack."""
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_SECOND), "-g",
              "-p", str(pid), "-o", str(data)]  # fmt: skip
    try:
        perf = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise MeasurementError("perf is not installed") from None
    try:
        time.sleep(ATTACHES)
        attached = perf.poll() is None
        if attached:
            yield
    finally:
        perf.send_signal(signal.SIGINT)
        _, words = perf.communicate(timeout=30)
    if not attached or not data.exists() or not data.stat().st_size:
        raise MeasurementError(f"perf cannot sample here: {' '.join(words.split())[:300]}")


def stacks(script: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """Each sample in what ``perf script -F ip,sym,dso`` prints: function and file, innermost first."""
    stack: list[tuple[str, str]] = []
    for line in script:
        words = line.split(maxsplit=1)
        if len(words) == 2:
            name, _, file = words[1].rstrip().rpartition(" (")
            stack.append((name.partition("+")[0], file.removesuffix(")")))
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def place(stack: list[tuple[str, str]]) -> tuple[bool, str]:
    """Is the sample the kernel's, and where does it belong?"""
    file = stack[0][1].rpartition("/")[2]
    if not file.startswith("[kernel") and not file.endswith(".ko"):
        return False, next((name for part, name in LIBRARIES.items() if part in file), "other user code")
    names = [name for name, _ in stack]
    for name in reversed(names):
        if name.startswith(("__x64_sys_", "__arm64_sys_")):
            return True, name.partition("_sys_")[2]
    for part, where in ELSEWHERE.items():
        if any(part in name for name in names):
            return True, where
    return True, "elsewhere in the kernel"


def _shares(
    bench: Bench, proxy: Proxy, load: Load, seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Of user code and of the kernel: the share of each place in all samples."""
    data = proxy.server.directory / "perf.data"
    with load.on(bench, proxy, seconds=seconds) as running, _sampled(proxy.worker, data):
        running.run()
    done = subprocess.run(
        ["perf", "script", "-F", "ip,sym,dso", "--no-inline", "-i", str(data)], capture_output=True, text=True
    )
    found = Counter(place(stack) for stack in stacks(done.stdout.splitlines()))
    total = found.total()
    if not total:
        raise MeasurementError(f"perf has no sample: {' '.join(done.stderr.split())[:300]}")
    user = {name: count / total for (kernel, name), count in found.items() if not kernel}
    return user, {name: count / total for (kernel, name), count in found.items() if kernel}


def _profile(bench: Bench, proxy: Proxy, load: Load, seconds: float) -> tuple[Profile, str]:
    """The profile, and why it is no finer, if perf does not work: then user code and kernel are one each."""
    slices = []
    for _ in range(SLICES):
        with load.on(bench, proxy, seconds=seconds / SLICES) as running:
            slices.append(under_load(bench, proxy, running, "logins")[1])
    cost = median(part.cost for part in slices) * 1e6
    with (
        load.on(bench, proxy, count=STRACE_LOGINS, concurrency=bench.concurrency, seconds=30) as running,
        counted_system_calls(proxy.worker, proxy.server.directory / "strace") as counts,
    ):
        logins = running.run()["logins"]
    calls = {name: count / logins for name, count in counts.calls.items()}
    try:
        user, kernel = _shares(bench, proxy, load, seconds)
        reason = ""
    except MeasurementError as error:
        used = [part.used for part in slices if part.used]
        share = sum(part.user for part in used) / max(1, sum(part.user + part.system for part in used))
        reason = str(error)
        user, kernel = {"by the kernel's ticks": share}, {"by the kernel's ticks": 1 - share}
    return Profile(
        {name: share * cost for name, share in user.items()},
        {name: share * cost for name, share in kernel.items()}, calls,
    ), reason  # fmt: skip


def table(profiles: Mapping[str, Profile]) -> list[list[str]]:
    """User code by library, then the kernel by system call, the dearest first; µs and calls per login."""
    head = ["where", *(f"{name}, µs" for name in profiles), *(f"{name}, calls" for name in profiles)]
    rows = [head]
    for title, parts in (
        ("user code", [profile.user for profile in profiles.values()]),
        ("kernel", [profile.kernel for profile in profiles.values()]),
    ):
        calls = [profile.calls if title == "kernel" else {} for profile in profiles.values()]
        rows.append(_line(f"**{title}**", [sum(part.values()) for part in parts],
                          [sum(counts.values()) for counts in calls]))  # fmt: skip
        names = {name for part in [*parts, *calls] for name in part}
        for name in sorted(names, key=lambda name: -max(part.get(name, 0) for part in parts)):
            times = [part.get(name, 0) for part in parts]
            numbers = [counts.get(name, 0) for counts in calls]
            if max(times) >= 0.1 or max(numbers) >= 0.1:
                rows.append(_line(name, times, numbers))
    everything = [sum(p.user.values()) + sum(p.kernel.values()) for p in profiles.values()]
    return [*rows, _line("**all**", everything, [0.0 for _ in profiles])]


def _line(name: str, times: list[float], calls: list[float]) -> list[str]:
    return [name, *(f"{us:.1f}" for us in times), *(f"{number:.1f}" if number else "" for number in calls)]


def _parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="perf/profile", description=__doc__)
    parse.add_argument("--protocol", choices=PROTOCOLS, default="imap")
    parse.add_argument("--tls", choices=("1.2", "1.3"), default="", help="clients speak TLS; with IMAP only")
    parse.add_argument("--resume", action="store_true", help="with resumed TLS sessions")
    parse.add_argument("--seconds", type=command.seconds, default=5.0,
                       help="of load while sampling, and before (5)")  # fmt: skip
    parse.add_argument("--nginx", type=Path, default=machine.NGINX, metavar="PATH", help="this nginx binary")
    parse.add_argument("--write", type=command.page, metavar="FILE", help="write the table as Markdown")
    return parse


def _run(options: argparse.Namespace) -> int:
    if options.tls and options.protocol != "imap":
        raise machine.SetupError("--tls: only IMAP logins are measured over TLS")
    if options.resume and not options.tls:
        raise machine.SetupError("--resume: with --tls only")
    machine.build_loadgen()
    nginx = machine.Nginx.at(options.nginx)
    cores = machine.Cores.chosen()
    cores.take_load()
    load = Load(options.protocol, options.tls, options.resume)
    variants = [nginx_variant(nginx, f"nginx {nginx.version}"), fastmail_variant()]
    profiles, reason = {}, ""
    with (
        machine.machine_alone(),
        open_bench(nginx, cores, seconds=1, concurrency=CONCURRENCY) as bench,
        bench.ready(variants) as proxies,
    ):
        for proxy in proxies:
            print(f"profiling {proxy.name}", file=sys.stderr)
            profiles[proxy.name], why = _profile(bench, proxy, load, options.seconds)
            reason = reason or why
    found = table(profiles)
    note = f"Without perf ({reason}) there is no division by system call.\n" if reason else ""
    print(f"Processor time and system calls per {load}\n\n{report.text(found)}\n{note}", flush=True)
    if options.write:
        head = "".join(f"- {name}: {value}\n" for name, value in machine.describe())
        head += f"- fastmail: {machine.fastmail_versions()}\n"
        text = f"# Processor time per {load}\n\nWritten by `perf/profile`; [docs/performance.md]"
        text += f"(../docs/performance.md) says how.\n\n{head}\n{note}{report.markdown(found)}\n"
        with command.writing(options.write):
            options.write.write_text(text)
    return 0


def main() -> int:
    """The exit status."""
    options = _parser().parse_args()
    return command.run("perf/profile", lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
