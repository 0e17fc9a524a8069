"""What a process costs, as the kernel accounts it."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class MeasurementError(Exception):
    """Something failed while it was measured: there is no number."""


@dataclass(frozen=True)
class Processor:
    """Processor time of processes so far, all of their threads, those that have ended included."""

    total: float  # seconds, exact: the scheduler's own account
    user: int  # clock ticks; coarse, so only their proportion over many slices is used
    system: int

    @classmethod
    def of(cls, *pids: int) -> "Processor":
        """Of these processes together. Raises MeasurementError when one has gone."""
        total, user, system = 0.0, 0, 0
        for pid in pids:
            try:
                # The kernel's name for another process's CPU clock, as clock_getcpuclockid(3) makes it.
                total += time.clock_gettime_ns((~pid << 3) | 2) / 1e9
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError as error:
                raise MeasurementError(f"the worker (process {pid}) has gone") from error
            user += int(fields[11])
            system += int(fields[12])
        return cls(total, user, system)

    def since(self, before: "Processor") -> "Processor":
        return Processor(self.total - before.total, self.user - before.user, self.system - before.system)


def core_busy(core: int) -> float:
    """Seconds that the core has worked so far, for whom ever: kernel threads and other processes too."""
    name = f"cpu{core} "
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(name):
            user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, line.split()[1:])
            return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    raise MeasurementError(f"/proc/stat has no core {core}")


@dataclass(frozen=True)
class Memory:
    """Bytes, as ``smaps_rollup`` has them; kernel memory is not in it."""

    resident: int
    share: int  # of the resident memory: what is shared counts in parts
    private_dirty: int  # what this process alone has written


def memory(pid: int) -> Memory:
    """Raises MeasurementError when it cannot be read."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes = {
            name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)
        }
        return Memory(sizes["Rss"], sizes["Pss"], sizes["Private_Dirty"])
    except (OSError, KeyError) as error:
        raise MeasurementError(f"cannot read the memory of the worker (process {pid}): {error}") from error


def descriptors(pid: int) -> int:
    """How many a process has open. Raises MeasurementError."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError as error:
        raise MeasurementError(f"cannot count the descriptors of worker {pid}: {error}") from error


def voluntary_switches(pids: Iterable[int]) -> int:
    """How often threads of these processes have gone to sleep so far. Raises MeasurementError."""
    total = 0
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
                found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status, re.M)
                total += int(found[1]) if found else 0
        except OSError as error:
            raise MeasurementError(f"the worker (process {pid}) or a thread of it has gone") from error
    return total


@dataclass
class SystemCalls:
    """Number of calls by name, filled when the counting ends."""

    calls: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.calls.values())


@contextmanager
def counted_system_calls(pid: int, summary: Path) -> Iterator[SystemCalls]:
    """Counts the system calls of all threads of a process with strace, which slows the process much."""
    counts = SystemCalls()
    command = ["strace", "-c", "-f", "-p", str(pid), "-o", str(summary)]
    try:
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise MeasurementError("strace is not installed") from None
    assert strace.stderr is not None
    try:
        line = strace.stderr.readline()
        if "attached" not in line:
            raise MeasurementError(f"strace could not attach: {line.strip()}")
        yield counts
    finally:
        strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=10)
    for row in summary.read_text().splitlines():
        words = row.split()
        if len(words) >= 5 and words[0][:1].isdigit() and words[-1] != "total":
            counts.calls[words[-1]] = int(words[3])
    if not counts.calls:
        raise MeasurementError("strace counted nothing")


def children(pid: int) -> list[int]:
    """Process ids of the direct children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # the thread has ended meanwhile
            continue
    return found


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/stat")
