"""The file that tells ``-s`` and init scripts whom to signal (the ``pid`` directive)."""

from __future__ import annotations

import contextlib
import os
import re
import signal

from fastmail.files import open_file
from fastmail.logs import Log, describe
from fastmail.server import StartFailed
from fastmail.server.outcome import Waiter, WaitFailed

SIGNALS = {
    "stop": signal.SIGTERM,
    "quit": signal.SIGQUIT,
    "reopen": signal.SIGUSR1,
    "reload": signal.SIGHUP,
}
"""What ``-s`` sends for each of its words."""

_MAX_TEXT = 21  # bytes: a 64-bit number and a line end
_MAX_PID = 2**31 - 1


def write(path: str, text: str) -> None:
    """Write our process id; an empty text only creates the file. Raises StartFailed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | (os.O_TRUNC if text else 0)
    try:
        fd = open_file(path, flags)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise StartFailed(f'open() "{path}" failed {describe(error)}') from error


def remove(path: str, log: Log) -> None:
    """Remove our file. One that a successor has written its own process id to is left alone."""
    try:
        text = _content(path)[0].strip()
        if not text.isdigit() or int(text) == os.getpid():
            os.unlink(path)
    except OSError as error:
        log.alert(f'unlink() "{path}" failed', error)


def read(path: str, log: Log) -> tuple[int, int] | None:
    """The master's pid and the user who owns the file. None: there is no pid to be had, which is logged."""
    try:
        content, owner = _content(path)
    except OSError as error:
        log.error(f'open() "{path}" failed', error)
        return None
    text = content.rstrip(b"\r\n")
    if re.fullmatch(rb"0*[1-9][0-9]*", text) is None or int(text) > _MAX_PID:
        log.error(f'invalid PID number "{text.decode("latin-1")}" in "{path}"')
        return None
    return int(text), owner


def _content(path: str) -> tuple[bytes, int]:
    """Its first bytes and its owner. Raises OSError; a FIFO in its place is read as an empty file."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        return file.read(_MAX_TEXT) or b"", os.fstat(file.fileno()).st_uid


def send(path: str, word: str, log: Log) -> bool:
    """``-s WORD``: signal the master whose pid is in the file. False if that failed, which is logged."""
    log.notice("signal process started")
    if (found := read(path, log)) is None:
        return False
    pid, number = found[0], SIGNALS[word]
    try:
        os.kill(pid, number)
    except OSError as error:
        log.alert(f"kill({pid}, {number}) failed", error)
        return False
    return True


def reload(path: str, seconds: float, log: Log) -> bool:
    """``-s reload --wait``: False if the new workers do not serve within ``seconds``, which is logged."""
    log.notice("signal process started")
    if (found := read(path, log)) is None:
        return False
    pid, owner = found
    try:
        with contextlib.closing(Waiter(pid, {0, os.geteuid(), owner})) as waiter:
            waiter.reload(seconds)
    except ProcessLookupError as error:
        log.alert(f"kill({pid}, {SIGNALS['reload']}) failed", error)
    except OSError as error:
        log.error(f"cannot wait for process {pid}", error)
    except WaitFailed as error:
        log.error(f"reload failed: {error}")
    else:
        return True
    return False
