"""What becomes of each reload, told by the master to ``-s reload --wait``.

The master keeps it in a memfd, which others find among its descriptors in /proc. Only root and the master's
own user may look there, and only the master writes to it: workers close it. So there is no file that could be
left behind, faked or in the way, and it works wherever the pid file is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import time
import zlib
from collections.abc import Collection
from errno import ESRCH

from fastmail.logs import Log

_NAME = "fastmail-reloads"
_LINK = re.compile(rf"/memfd:{_NAME}(?: \(deleted\))?")
_KEPT = 16  # reloads
_TEXT_MAX = 500
_PAUSE = 0.05  # seconds between two looks
_LOOKS = 20  # until what cannot be read is taken for broken
_SIZE_MAX = 256 * 1024  # bytes; a character takes up to 12

STARTING, SERVING, FAILED, SUPERSEDED = "starting", "serving", "failed", "superseded"


class WaitFailed(Exception):
    """The new workers do not serve, or it cannot be known. str() says why."""


class Outcomes:
    """The master's side: reloads are numbered from 1."""

    def __init__(self, log: Log) -> None:
        self._records: dict[int, tuple[str, str]] = {}
        self._last = 0
        self._fd = -1
        try:
            self._fd = os.memfd_create(_NAME)
        except OSError as error:
            log.alert('memfd_create() failed, "-s reload --wait" cannot be answered', error)
        self._write()

    def begin(self) -> int:
        """A reload begins, before anything is read: its number."""
        self._last += 1
        self._records.pop(self._last - _KEPT, None)
        self._set(self._last, STARTING, "")
        return self._last

    def end(self, number: int, failure: str | None = None) -> None:
        """The new workers serve, or ``failure`` says why not."""
        self._set(number, SERVING if failure is None else FAILED, failure or "")

    def supersede(self, number: int, by: int) -> None:
        """The outcome of the reload ``by`` stands for this one's: others may have failed in between."""
        self._set(number, SUPERSEDED, str(by))

    def close(self) -> None:
        """In a worker: it must not be able to write this."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _set(self, number: int, state: str, text: str) -> None:
        self._records[number] = state, text[:_TEXT_MAX]
        self._write()

    def _write(self) -> None:
        if self._fd >= 0:
            data = json.dumps([self._last, self._records]).encode()
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, b"%08x %s\n" % (zlib.crc32(data), data), 0)


class Waiter:
    """The side of who asks for a reload and wants to know what becomes of it."""

    def __init__(self, pid: int, users: Collection[int]) -> None:
        """``users`` are believed. Raises OSError (there is no such process), WaitFailed (it cannot tell)."""
        self._pid = pid
        self._process = os.pidfd_open(pid)
        self._poll = select.poll()
        self._poll.register(self._process, select.POLLIN)
        self._fd = -1
        try:
            self._fd = _open(pid, users)
            if self._poll.poll(0):  # what we have opened may be another process's
                raise ProcessLookupError(ESRCH, os.strerror(ESRCH))
            self._before = self._read()[0]
        except BaseException:
            self.close()
            raise

    def reload(self, seconds: float) -> None:
        """Send HUP and return when the new workers serve. Raises OSError, WaitFailed."""
        deadline = time.monotonic() + seconds
        signal.pidfd_send_signal(self._process, signal.SIGHUP)
        gone = False
        while not self._served():
            if gone:
                raise WaitFailed(f"process {self._pid} exited")
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitFailed(f"the new workers do not serve after {seconds:g} seconds")
            gone = bool(self._poll.poll(min(left, _PAUSE) * 1000))

    def close(self) -> None:
        for fd in (self._fd, self._process):
            if fd >= 0:
                os.close(fd)

    def _served(self) -> bool:
        """What has become of the first reload that began after we looked. Raises WaitFailed."""
        last, records = self._read()
        number = self._before + 1
        while number <= last:
            state, text = records.get(number, (SUPERSEDED, ""))  # too long ago to be known
            if state == FAILED:
                raise WaitFailed(text)
            if state != SUPERSEDED:
                return state == SERVING
            number = int(text or number + 1)
        return False

    def _read(self) -> tuple[int, dict[int, tuple[str, str]]]:
        """Raises WaitFailed: a limit has kept the master from writing it whole."""
        for _ in range(_LOOKS):  # until the master is not writing just then
            checksum, _, data = os.pread(self._fd, _SIZE_MAX, 0).partition(b"\n")[0].partition(b" ")
            if checksum == b"%08x" % zlib.crc32(data):
                last, records = json.loads(data)
                return last, {int(number): (state, text) for number, (state, text) in records.items()}
            time.sleep(_PAUSE)
        raise WaitFailed(f"process {self._pid} doesn't report the outcome of a reload")


def _open(pid: int, users: Collection[int]) -> int:
    """The memfd of the master. A process that any other user has started might have one of the same name."""
    with open(f"/proc/{pid}/status", encoding="latin-1") as file:
        found = re.search(r"^Uid:\s*(.*)", file.read(), re.M)
    if found is not None and {int(user) for user in found[1].split()} <= set(users):
        directory = f"/proc/{pid}/fd"
        for name in os.listdir(directory):
            path = f"{directory}/{name}"
            with contextlib.suppress(FileNotFoundError):
                if _LINK.fullmatch(os.readlink(path)):
                    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    raise WaitFailed(f"process {pid} doesn't report the outcome of a reload, no signal sent")
