"""Opening files by name, as root, in directories that others may write to.

Whoever can write to a directory can put a symbolic link in the place of a file. So root follows only links
that belong to root, in every part of the path; for anybody else this is open(2).
"""

from __future__ import annotations

import contextlib
import os
import stat
from errno import ELOOP

_LINKS_MAX = 40  # as Linux


def open_file(path: str, flags: int, mode: int = 0o644) -> int:
    """A descriptor, closed on exec; never the process's terminal. Raises OSError."""
    flags |= os.O_CLOEXEC | os.O_NOCTTY
    if os.geteuid() != 0:
        return os.open(path, flags, mode)
    try:
        return _open_as_root(path, flags, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _open_as_root(path: str, flags: int, mode: int) -> int:
    with contextlib.ExitStack() as held:

        def enter(name: str, inside: int | None) -> int:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
            held.callback(os.close, fd)
            return fd

        directory = enter("/" if path.startswith("/") else ".", None)
        parts = _parts(path)
        links, proc = 0, _proc()
        while True:
            name, last = (parts.pop(0) if parts else "."), not parts
            try:
                here = enter(name, directory)
            except FileNotFoundError:
                if not last:
                    raise
                return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=directory)
            status = os.fstat(here)
            if status.st_dev == proc:  # a link there leads to what may have no name: /dev/stderr
                if last:
                    return os.open(name, flags, mode, dir_fd=directory)
                directory = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
                held.callback(os.close, directory)
            elif stat.S_ISLNK(status.st_mode):
                links += 1
                if status.st_uid != 0 or links > _LINKS_MAX:
                    raise OSError(ELOOP, os.strerror(ELOOP))
                target = os.readlink("", dir_fd=here)
                parts = _parts(target) + parts
                if target.startswith("/"):
                    directory = enter("/", None)
            elif last:
                return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=directory)
            else:
                directory = here


def _proc() -> int | None:
    """The device number of /proc, if there is one."""
    try:
        return os.stat("/proc").st_dev
    except OSError:
        return None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
