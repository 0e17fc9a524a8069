"""What the command lines of perf/run and perf/profile have in common."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .machine import SetupError
from .measure import MeasurementError


def whole(text: str) -> int:
    """An option's value: a number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of at least 1')
    return int(text)


def seconds(text: str) -> float:
    """An option's value: a time between a hundredth of a second and an hour."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time between 0.01 and 3600 seconds')
    return value


def some_of(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """An option's value: words of these with commas between them."""

    def parse(text: str) -> list[str]:
        found = list(dict.fromkeys(word for word in text.split(",") if word))
        for word in found:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f'no "{word}"; there are {", ".join(allowed)}')
        if not found:
            raise argparse.ArgumentTypeError("names nothing")
        return found

    return parse


def page(text: str) -> Path:
    """An option's value: a file to be written, in a directory that is there before anything is measured."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'"{text}" is a directory, or in none')
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An OSError while the file is written, or what belongs to it, names the file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def run(name: str, work: Callable[[], int]) -> int:
    """The exit status: that of ``work``; 1: something failed; 2: wrong set-up; 130: interrupted.

    TERM and HUP interrupt as Ctrl-C does, so that proxies are stopped on the way out.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1)
            signal.signal(number, signal.default_int_handler)
    try:
        return work()
    except MeasurementError as error:
        words, status = str(error), 1
    except SetupError as error:
        words, status = str(error), 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        words, status = f"{where}{error.strerror or error}", 1
    except KeyboardInterrupt:
        words, status = "interrupted", 130
    lead = "\n" if sys.stderr.isatty() else ""  # the line of Progress
    print(f"{lead}{name}: {words}", file=sys.stderr)
    return status
