"""What ``ps`` shows for a process: ``fastmail: worker process``.

The kernel reads it from the memory where exec() put the arguments and, behind them, the environment. glibc
keeps the variables somewhere else once each has been set again, so the whole stretch becomes ours.
"""

from __future__ import annotations

import ctypes
import os

_PR_SET_NAME = 15
_ARG_START, _ENV_START, _ENV_END = 47, 49, 50  # fields of proc(5) /proc/pid/stat, from 0

_area: tuple[int, int] | None = None  # address and length


def prepare() -> None:
    """Find the memory and move the environment out of it; once, before the first set_title()."""
    global _area
    try:
        with open("/proc/self/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return  # a chroot without /proc
    fields = [b"", b"", *stat.rpartition(b")")[2].split()]
    start, end = int(fields[_ARG_START]), int(fields[_ENV_END])
    if not 0 < start < int(fields[_ENV_START]) <= end:
        return  # the kernel does not show it (hidepid, ptrace restrictions)
    for name, value in os.environb.items():
        os.environb[name] = value
    _area = start, end - start


def set_title(title: str) -> None:
    """Show ``title``, cut to the room there is; without prepare() nothing happens.

    The process's short name is the program's, by which init scripts and killall(1) know it.
    """
    if _area is None:
        return
    address, length = _area
    text = title.encode(errors="surrogateescape")[: length - 1]
    ctypes.memset(address, 0, length)
    ctypes.memmove(address, text, len(text))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, text.partition(b":")[0][:15], 0, 0, 0)
