"""``python -m fastmail``, and the ``fastmail`` command."""

import os
import signal
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    _open_standard_descriptors()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while starting ends us without a traceback
    from fastmail.cli import main as run

    return run()


def _open_standard_descriptors() -> None:
    """Started with some of 0, 1, 2 closed: a socket or a log must not get such a number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
