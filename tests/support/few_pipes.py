"""Run as root or as anybody: relays bulk as a user who has his pipes, and as one whose budget is used up."""

import contextlib
import ctypes
import fcntl
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

PR_SET_DUMPABLE = 4


def become_nobody() -> None:
    """A user with nothing but this process: other tests may use up what belongs to ``nobody``."""
    if os.getuid() == 0:
        own = 1_000_000 + os.getpid()
        os.setgroups([])
        os.setgid(own)
        os.setuid(own)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self/fd would stay root's


@contextlib.contextmanager
def used_up() -> Iterator[None]:
    """fs.pipe-user-pages-soft: pipes get two pages from now on, and cannot grow."""
    held: list[int] = []
    for size in (1 << 20, 1 << 16):
        with contextlib.suppress(PermissionError):
            while True:
                held += os.pipe()
                fcntl.fcntl(held[-1], fcntl.F_SETPIPE_SZ, size)
    try:
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support.engine import Rig, until

    def lent(up: bool) -> int:
        """Relay bulk to a reader that stops and goes on: how many pipes it was lent."""
        with Rig() as rig:
            client, backend = rig.relay()
            source, sink = (client, backend) if up else (backend, client)
            due = rig.fill(source, sink, data, rounds=10)
            pipes = rig.stat("pipes_lent")
            assert sink.read(len(due)) == due
            until(lambda: rig.stat("pipes_lent") == 0)
            return pipes

    data = random.Random(1).randbytes(1 << 20)
    become_nobody()
    for up in (False, True):
        assert lent(up) == 1
        with used_up():
            assert lent(up) == 0
        assert lent(up) == 1


if __name__ == "__main__":
    main()
