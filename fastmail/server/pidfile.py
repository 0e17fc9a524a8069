"""The file that tells ``-s`` and init scripts whom to signal (the ``pid`` directive)."""

from __future__ import annotations

import os
import re
import signal

from fastmail.logs import Log, describe
from fastmail.server import StartFailed

SIGNALS = {
    "stop": signal.SIGTERM,
    "quit": signal.SIGQUIT,
    "reopen": signal.SIGUSR1,
    "reload": signal.SIGHUP,
}
"""What ``-s`` sends for each of its words."""

_MAX_TEXT = 21  # bytes: a 64-bit number and a line end


def write(path: str, text: str) -> None:
    """Write our process id; an empty text only creates the file. Raises StartFailed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if text else 0)
    try:
        fd = os.open(path, flags, 0o644)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise StartFailed(f'open() "{path}" failed {describe(error)}') from error


def remove(path: str, log: Log) -> None:
    """Remove our file. One that a successor has written its own process id to is left alone."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_TEXT).strip()
        if not text.isdigit() or int(text) == os.getpid():
            os.unlink(path)
    except OSError as error:
        log.alert(f'unlink() "{path}" failed', error)


def send(path: str, word: str, log: Log) -> bool:
    """``-s WORD``: signal the master whose pid is in the file. False if that failed, which is logged."""
    log.notice("signal process started")
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_TEXT).rstrip(b"\r\n")
    except OSError as error:
        log.error(f'open() "{path}" failed', error)
        return False
    if re.fullmatch(rb"0*[1-9][0-9]*", text) is None:
        log.error(f'invalid PID number "{text.decode("latin-1")}" in "{path}"')
        return False
    pid, number = int(text), SIGNALS[word]
    try:
        os.kill(pid, number)
    except OSError as error:
        log.alert(f"kill({pid}, {number}) failed", error)
        return False
    except OverflowError:
        log.error(f'invalid PID number "{pid}" in "{path}"')
        return False
    return True
