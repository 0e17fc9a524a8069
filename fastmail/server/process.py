"""What a worker process is given besides its user: limits, priority, processors, current directory."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Sequence
from errno import EPERM

from fastmail.logs import Log, describe
from fastmail.server.cycle import Cycle
from fastmail.server.privileges import DropFailed

_LIBC = ctypes.CDLL(None)
_PR_SET_DUMPABLE = 4  # <sys/prctl.h>
_CPUS = 1024  # CPU_SETSIZE


def set_limits(cycle: Cycle) -> None:
    """``worker_priority`` and the limits, while we may; what it cannot have, a worker works without."""
    main, log = cycle.configuration.main, cycle.log
    priority = main["worker_priority"]
    if priority:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, priority)
        except OSError as error:
            log.alert(f"setpriority({priority}) failed", error)
    _limit(log, "RLIMIT_NOFILE", main["worker_rlimit_nofile"])
    _limit(log, "RLIMIT_CORE", main["worker_rlimit_core"])


def _limit(log: Log, name: str, value: int | None) -> None:
    if value is None:
        return
    try:
        resource.setrlimit(getattr(resource, name), (value, value))
    except (OSError, ValueError):  # Python puts EPERM as a ValueError, with a text of its own
        log.alert(f"setrlimit({name}, {value}) failed", OSError(EPERM, os.strerror(EPERM)))


def allow_core() -> None:
    """Once another user was become: of such a process the kernel writes no core unless it is told to (nginx).

    Only where a core may have a size: other processes of the user can look into one that is dumpable.
    """
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
        _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def settle(cycle: Cycle, number: int) -> None:
    """As the workers' user: ``worker_cpu_affinity`` and ``working_directory``. Raises DropFailed."""
    main, log = cycle.configuration.main, cycle.log
    processors = affinity(main["worker_cpu_affinity"], number, os.cpu_count() or 1)
    if processors:
        for processor in sorted(processors):
            log.notice(f"sched_setaffinity(): using cpu #{processor}")
        try:
            os.sched_setaffinity(0, processors)
        except OSError as error:
            log.alert("sched_setaffinity() failed", error)
    directory = main["working_directory"]
    if directory:
        try:
            os.chdir(directory)
        except OSError as error:
            raise DropFailed(f'chdir("{directory}") failed {describe(error)}', "alert") from error


def affinity(masks: Sequence[str], number: int, processors: int) -> set[int]:
    """The processors of worker ``number`` (from 0); the empty set leaves it to the system.

    ``auto`` gives each worker one processor of the mask in turn, else each has its own mask, the last one all
    that come after.
    """
    if not masks:
        return set()
    if masks[0] != "auto":
        return _mask(masks[min(number, len(masks) - 1)])
    allowed = sorted(_mask(masks[1]) if len(masks) > 1 else range(min(processors, _CPUS)))
    return {allowed[number % len(allowed)]} if allowed else set()


def _mask(text: str) -> set[int]:
    digits = text.replace(" ", "")[::-1]
    return {processor for processor, digit in enumerate(digits) if digit == "1"}
