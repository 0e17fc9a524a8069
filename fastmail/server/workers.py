"""The worker processes of a master: started, told, heard, and taken when they have ended."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fastmail.logs import Log, describe
from fastmail.server import worker
from fastmail.server.cycle import Cycle
from fastmail.server.shared import Shared
from fastmail.server.title import set_title

START_PATIENCE = 30.0  # seconds that a worker gets from its start until it serves
MAX_WORKERS = 1024  # as nginx; a typing error in worker_processes must not take the machine down
CHANNEL_PAUSE = 0.05  # seconds until a worker is offered again what it did not take

CHANNEL_SIGNAL = signal.SIGRTMIN
"""Tells the master that something has come by a channel. Queued by the kernel, not sent by anybody."""

_PR_SET_DUMPABLE = 4  # <sys/prctl.h>


class SpawnFailed(Exception):
    """A worker process could not be made. str() is what failed and why."""


@dataclass
class Child:
    """A worker process."""

    pid: int
    number: int  # its place among the workers, from 0
    started: float  # time.monotonic()
    cycle: Cycle  # what it serves
    place: int | None  # in what the workers share
    channel: socket.socket  # where renewed certificates are sent, and where it says that it serves
    starting: bool = True  # has neither said that it serves nor been killed for being late
    serving: bool = False  # has said so
    leaving: bool = False  # was told to stop: not to be replaced
    pending: bytes = b""  # that the channel had no room for

    @property
    def deadline(self) -> float:
        return self.started + START_PATIENCE

    def push(self) -> None:
        """Send what is pending, as far as there is room; a worker that has gone is reaped elsewhere."""
        try:
            while self.pending:
                self.pending = self.pending[self.channel.send(self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self.pending = b""

    def take_word(self) -> None:
        """What came by the channel: that it serves, or its end, which is reaped elsewhere."""
        with contextlib.suppress(OSError):
            if self.channel.recv(1) == worker.SERVING:
                self.serving, self.starting = True, False


class Workers:
    """All worker processes that have not been reaped yet, of whichever configuration."""

    def __init__(self, identity: str, shared: Shared, release: Callable[[Cycle], None]) -> None:
        """``release`` lets go of what no worker of that configuration needs."""
        self._identity = identity
        self._shared = shared
        self._release = release
        self._children: dict[int, Child] = {}

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    def __bool__(self) -> bool:
        return bool(self._children)

    def of(self, cycle: Cycle) -> list[Child]:
        """Those that serve this configuration and are to go on doing so."""
        return [child for child in self if child.cycle is cycle and not child.leaving]

    def serving(self, cycle: Cycle) -> int:
        return sum(child.serving for child in self.of(cycle))

    def spawn(self, cycle: Cycle, number: int) -> None:
        """Start the worker in place ``number``. Raises SpawnFailed."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise SpawnFailed(_refused("socketpair", error)) from error
        place = self._shared.take()
        try:
            _tell_of_input(ours)
            pid = os.fork()
        except OSError as error:
            self._shared.give_back(place)
            ours.close()
            theirs.close()
            raise SpawnFailed(_refused("fork", error)) from error
        if pid == 0:
            self._be_worker(cycle, number, place, ours, theirs)
        theirs.close()
        self._children[pid] = Child(pid, number, time.monotonic(), cycle, place, ours)
        cycle.log.notice(f"start worker process {pid}")

    def tell(
        self, number: signal.Signals, log: Log, children: Iterable[Child], *, leave: bool = True
    ) -> None:
        """Signal them. ``leave``: they end by it, and nobody takes their place."""
        for child in children:
            child.leaving |= leave
            try:
                os.kill(child.pid, number)
            except OSError as error:
                log.alert(f"kill({child.pid}, {int(number)}) failed", error)

    def take_words(self) -> None:
        """Hear which of those that are starting have come to serve."""
        for child in self:
            if child.starting:
                child.take_word()

    def late(self, now: float) -> list[Child]:
        """Those that do not serve although their time is over; each is named once."""
        late = [child for child in self if child.starting and child.deadline <= now]
        for child in late:
            child.starting = False
        return late

    def push(self) -> None:
        for child in self:
            child.push()

    def due(self) -> list[float]:
        """When something has to be done for them."""
        times = [child.deadline for child in self if child.starting]
        if any(child.pending for child in self):
            times.append(time.monotonic() + CHANNEL_PAUSE)
        return times

    def reap(self) -> Iterator[tuple[int, Child | None, int]]:
        """All children that have ended, with the status: one SIGCHLD may stand for several."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                child.channel.close()
                self._shared.give_back(child.place)
            yield pid, child, status

    def _be_worker(
        self, cycle: Cycle, number: int, place: int | None, ours: socket.socket, theirs: socket.socket
    ) -> None:
        """The rest of a forked process's life; does not return into the master's code."""
        code = worker.FAILED
        try:
            for child in self:
                child.channel.close()
            ours.close()
            self._release(cycle)
            cycle.redirect_stderr()
            set_title(f"{self._identity}: worker process")
            code = worker.run(cycle, self._shared.share(place), number=number, channel=theirs)
            _check_leaks()
        except Exception as error:
            cycle.log.emerg(f"worker process could not start: {type(error).__name__}: {error}")
        finally:
            os._exit(code)


def _refused(call: str, error: OSError) -> str:
    return f'{call}() failed while spawning "worker process" {describe(error)}'


def _tell_of_input(channel: socket.socket) -> None:
    """Have this process sent CHANNEL_SIGNAL when there is something to read. Raises OSError."""
    channel.setblocking(False)
    fd = channel.fileno()
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, CHANNEL_SIGNAL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def _check_leaks() -> None:
    """In a build with AddressSanitizer: os._exit() skips the check that a process ends with."""
    libc = ctypes.CDLL(None)
    check = getattr(libc, "__lsan_do_leak_check", None)
    if check is not None:
        libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # it looks at the process from outside, as a debugger does
        check()
