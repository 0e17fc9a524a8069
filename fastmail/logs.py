"""Process messages in nginx's format, and the files they go to.

A line is ``YYYY/MM/DD HH:MM:SS [LEVEL] PID#0: MESSAGE``, local time, at most 2048 bytes with its newline.
The engine writes session lines to the same descriptors by itself. A descriptor therefore never changes
while a configuration is in force: reopening puts the new file behind the old number.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from errno import EAGAIN, EINVAL, EMSGSIZE, ENOBUFS, ENOMEM, ENOSYS, ENXIO, EOPNOTSUPP
from typing import Any, Protocol

from fastmail.files import open_file

LEVELS = ("stderr", "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
"""nginx's; the position is nginx's number."""
STDERR, EMERG, ALERT, CRIT, ERROR, WARN, NOTICE, INFO, DEBUG = range(9)

MAX_LINE = 2048
STDERR_FD = 2

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_OPEN_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK


class Server(Protocol):
    """A syslog server as the configuration has it."""

    @property
    def addresses(self) -> Sequence[tuple[int, Any]]: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def facility(self) -> int: ...
    @property
    def header(self) -> str: ...


class Destination(Protocol):
    """An ``error_log`` as the configuration has it: a full path (or ``stderr``), a syslog server or a number
    of bytes of memory; and a level."""

    @property
    def path(self) -> str: ...
    @property
    def level(self) -> int: ...
    @property
    def syslog(self) -> Server | None: ...
    @property
    def memory(self) -> int: ...


def describe(error: OSError) -> str:
    """``(2: No such file or directory)``, the way nginx ends a message that has an errno."""
    return f"({error.errno}: {error.strerror})"


def format_line(level: int, message: str) -> bytes:
    """One finished log line of this process, cut at 2048 bytes."""
    stamp = time.strftime("%Y/%m/%d %H:%M:%S")
    line = f"{stamp} [{LEVELS[level]}] {os.getpid()}#0: {message}".encode(errors="surrogateescape")
    return line[: MAX_LINE - 1] + b"\n"


def write(fd: int, line: bytes) -> None:
    """A full disk or a closed terminal must not stop a mail proxy, and there is nowhere left to say it."""
    with contextlib.suppress(OSError):
        os.write(fd, line)


def write_now(fd: int, line: bytes) -> None:
    """As the engine's sink_write(): never wait for who reads. Raises OSError."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    elif stat.S_ISREG(mode) or not os.get_blocking(fd):
        os.write(fd, line)
    else:
        try:
            os.pwritev(fd, [line], -1, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (EINVAL, ENOSYS, EOPNOTSUPP):
                raise
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            if not poll.poll(0):
                raise BlockingIOError(EAGAIN, os.strerror(EAGAIN)) from None
            os.write(fd, line)


def own_stderr() -> None:
    """Make descriptor 2, if it is a pipe or a terminal, one that does not block.

    O_NONBLOCK belongs to the open file, which we share with the shell, the container's runtime and whoever
    else writes there. So the same pipe or terminal is opened once more; where that is not allowed, see
    write_now().
    """
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(STDERR_FD).st_mode) or os.isatty(STDERR_FD):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            fd = os.open(f"/proc/self/fd/{STDERR_FD}", flags)
            os.dup2(fd, STDERR_FD)
            os.close(fd)


def _open(path: str) -> int:
    """Raises OSError. A FIFO that nobody reads is opened for both: its lines wait for a reader."""
    try:
        return open_file(path, _OPEN_FLAGS)
    except OSError as error:
        if error.errno != ENXIO:
            raise
        return open_file(path, _OPEN_FLAGS & ~os.O_WRONLY | os.O_RDWR)


class LogFile:
    """An open log file with a fixed descriptor. Raises OSError if it cannot be opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = _open(path)

    def reopen(self, owner: int | None = None) -> None:
        """Put the file that bears the name now behind the descriptor; raises OSError, changing nothing.

        ``owner`` is the workers' user: it gets the file, readable and writable, so that they can do the same.
        """
        fd = _open(self.path)
        try:
            if owner is not None:
                _give(fd, owner)
            os.dup2(fd, self.fd, inheritable=False)
        finally:
            os.close(fd)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Syslog:
    """Datagrams to a syslog server, which may come and go: what it does not take is lost.

    If its name has several addresses, the socket is connected to one of them, so that the kernel reports a
    refusal; the next address then goes behind the same descriptor. The engine does the same (log.pyx). Which
    address is in use is known to the descriptor alone, since both write to it.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.refused: list[tuple[str, OSError]] = []  # addresses that nobody has been told of
        self._told: set[str] = set()
        self._socket = self._unconnected()
        self.fd = self._socket.fileno()

    @property
    def _several(self) -> bool:
        return len(self.server.addresses) > 1

    def _unconnected(self) -> socket.socket:
        """Of several addresses each may need another family: the first line finds one that works."""
        family = socket.AF_UNIX if self._several else self.server.addresses[0][0]
        return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def write(self, level: int, line: bytes) -> None:
        """Raises OSError."""
        now = time.localtime()
        stamp = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {time.strftime('%H:%M:%S', now)}"
        head = f"<{self.server.facility * 8 + level - 1}>{stamp} {self.server.header}"
        data = head.encode(errors="surrogateescape") + line[:-1]
        if self._several:
            self._send_to_any(data)
        else:
            self._socket.sendto(data, self.server.addresses[0][1])

    def _send_to_any(self, data: bytes) -> None:
        """To the address in use, else to the first of the others that takes it. Raises OSError."""
        failure = self._send(data)
        if failure is None:
            return
        current = self._current()
        if current is not None:
            self._refuse(current, failure)
        first = 0 if current is None else current + 1
        count = len(self.server.addresses)
        for index in (number % count for number in range(first, first + count)):
            failure = self._connect(index) or self._send(data)
            if failure is None:
                return
            self._refuse(index, failure)
        raise failure

    def _send(self, data: bytes) -> OSError | None:
        """Why the address does not take it. Raises OSError if no other would either.

        On this machine a refusal is there as soon as the line has been sent; from elsewhere it comes later,
        and the next line gets it.
        """
        try:
            self._socket.send(data, socket.MSG_NOSIGNAL)
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return OSError(number, os.strerror(number)) if number else None
        except OSError as error:
            if error.errno in (EAGAIN, EMSGSIZE, ENOBUFS, ENOMEM):
                raise
            return error

    def _current(self) -> int | None:
        """Which of the addresses the descriptor is connected to."""
        with contextlib.suppress(OSError, ValueError):
            host, port = self._socket.getpeername()[:2]
            peer = (host.partition("%")[0], port)
            return [address for _, address in self.server.addresses].index(peer)
        return None

    def _connect(self, index: int) -> OSError | None:
        family, address = self.server.addresses[index]
        try:
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as fresh:
                fresh.connect(address)
                os.dup2(fresh.fileno(), self.fd, inheritable=False)
        except OSError as error:
            return error
        return None

    def _refuse(self, index: int, error: OSError) -> None:
        """Each address is named once by each process."""
        name = self.server.names[index]
        if name not in self._told:
            self._told.add(name)
            self.refused.append((name, error))

    def reopen(self) -> None:
        """Begin with the first of several addresses again. Raises OSError, changing nothing."""
        if self._several:
            with self._unconnected() as fresh:
                os.dup2(fresh.fileno(), self.fd, inheritable=False)

    def problem(self) -> OSError | None:
        """Why nothing can be sent there now, as far as this machine knows: of several addresses, to the
        first."""
        problem = None
        for family, address in self.server.addresses:
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    probe.connect(address)
                return None
            except OSError as error:
                problem = problem or error
        return problem

    def close(self) -> None:
        self._socket.close()


class MemoryLog:
    """The last ``size`` bytes of lines, in memory that all processes share; /proc/PID/fd/FD shows them."""

    def __init__(self, size: int) -> None:
        self.fd = os.memfd_create("error_log")
        os.ftruncate(self.fd, size + 8)
        self.map = mmap.mmap(self.fd, size + 8)

    def write(self, level: int, line: bytes) -> None:
        from fastmail._speedups import memory_log  # -v need not load the engine

        memory_log(self.map, line)

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # an engine that still writes to it keeps the mapping
            self.map.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _give(fd: int, owner: int) -> None:
    """Only a file that was just made, or by the rotation: not one that also has a name elsewhere."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid not in (0, owner):
        return
    if status.st_uid != owner:
        os.fchown(fd, owner, -1)
    owner_rw = stat.S_IRUSR | stat.S_IWUSR
    if status.st_mode & owner_rw != owner_rw:
        os.fchmod(fd, stat.S_IMODE(status.st_mode) | owner_rw)


class LogFiles:
    """The log files of one configuration: each path is open once, whoever names it."""

    def __init__(self) -> None:
        self.stderr = False  # one of them is stderr
        self._files: dict[str, LogFile] = {}
        self._others: dict[str, Syslog | MemoryLog] = {}

    @property
    def others(self) -> dict[int, Syslog | MemoryLog]:
        """By descriptor: what is no file."""
        return {other.fd: other for other in self._others.values()}

    def targets(self, destinations: Iterable[Destination]) -> list[tuple[int, int]]:
        """``(descriptor, level)`` for each destination, opening what is new. Raises OSError."""
        return [(self._open(log), log.level) for log in destinations]

    def _open(self, log: Destination) -> int:
        path = log.path
        if path == "stderr":
            self.stderr = True
            return STDERR_FD
        if log.syslog is not None or log.memory:
            if path not in self._others:
                self._others[path] = Syslog(log.syslog) if log.syslog is not None else MemoryLog(log.memory)
            return self._others[path].fd
        if path not in self._files:
            self._files[path] = LogFile(path)
        return self._files[path].fd

    def reopen(self, log: Log, owner: int | None = None) -> None:
        """nginx's USR1. A file that cannot be reopened stays what it was, and the log says so."""
        for file in self._files.values():
            try:
                file.reopen(owner)
            except OSError as error:
                log.emerg(f'open() "{file.path}" failed', error)
        for other in self._others.values():
            if isinstance(other, Syslog):
                try:
                    other.reopen()
                except OSError as error:
                    log.emerg("socket() failed while logging to syslog", error)

    def close(self) -> None:
        for log in (*self._files.values(), *self._others.values()):
            log.close()
        self._files.clear()
        self._others.clear()


class Log:
    """Where this process writes its messages.

    ``console`` names the program for the copies that warnings and worse leave on stderr while starting
    (``fastmail: [emerg] …``) if any target wants them; None once nobody is watching.
    """

    def __init__(
        self,
        targets: Iterable[tuple[int, int]] = (),
        *,
        others: Mapping[int, Syslog | MemoryLog] | None = None,
        console: str | None = None,
    ) -> None:
        self._targets = list(targets)
        self._others = others or {}
        self._lost: dict[int, tuple[int, OSError]] = {}  # lines, and why; by descriptor
        self.console = console

    def targets(self) -> list[tuple[int, int]]:
        """``(descriptor, level)`` pairs, as ``_speedups.Engine`` takes them."""
        return list(self._targets)

    def log(self, level: int, message: str, error: OSError | None = None) -> None:
        """Write ``message`` to every target that wants ``level``; ``error`` is appended with its errno."""
        text = message if error is None else f"{message} {describe(error)}"
        line = format_line(level, text)
        seen = False
        for fd, threshold in self._targets:
            if level <= threshold:
                self._write(fd, level, line)
                seen = seen or fd == STDERR_FD
        wanted = not self._targets or any(level <= threshold for _, threshold in self._targets)
        if self.console is not None and level <= WARN and wanted and not seen:
            say(self.console, f"[{LEVELS[level]}] {text}")
        self._tell_refusals()

    def _tell_refusals(self) -> None:
        """Each is told once only, so that this ends although it logs."""
        for other in self._others.values():
            while isinstance(other, Syslog) and other.refused:
                server, error = other.refused.pop()
                self.error(
                    f"send() failed {describe(error)} while logging to syslog, server: {server}, "
                    "trying next address"
                )

    def _write(self, fd: int, level: int, line: bytes) -> None:
        """What a log does not take is counted, and said after the next line that it takes."""
        try:
            self._send(fd, level, line)
            if fd in self._lost:
                lost, reason = self._lost[fd]
                self._send(fd, ALERT, format_line(ALERT, f"{lost} log lines lost {describe(reason)}"))
                del self._lost[fd]
        except OSError as error:
            self._lost[fd] = self._lost.get(fd, (0, error))[0] + 1, error

    def _send(self, fd: int, level: int, line: bytes) -> None:
        if fd in self._others:
            self._others[fd].write(level, line)
        else:
            write_now(fd, line)

    def emerg(self, message: str, error: OSError | None = None) -> None:
        self.log(EMERG, message, error)

    def alert(self, message: str, error: OSError | None = None) -> None:
        self.log(ALERT, message, error)

    def error(self, message: str, error: OSError | None = None) -> None:
        self.log(ERROR, message, error)

    def warn(self, message: str, error: OSError | None = None) -> None:
        self.log(WARN, message, error)

    def notice(self, message: str) -> None:
        self.log(NOTICE, message)

    def close(self) -> None:
        """Close the files of a bootstrap() log, which nobody else has; stderr stays."""
        for fd, _ in self._targets:
            if fd != STDERR_FD:
                os.close(fd)
        self._targets = []

    def redirect_stderr(self) -> None:
        """What still writes to stderr (the interpreter, a library) goes to the first log file from now on."""
        descriptors = [fd for fd, _ in self._targets if fd not in self._others]
        if descriptors and STDERR_FD not in descriptors:
            os.dup2(descriptors[0], STDERR_FD)


def say(program: str, message: str) -> None:
    """One line for the person at the terminal, on stderr: ``fastmail: MESSAGE``."""
    write(STDERR_FD, f"{program}: {message}\n".encode(errors="surrogateescape"))


def bootstrap(path: str, program: str) -> Log:
    """The log until a configuration is in force (nginx's ``-e``): ``path``, level notice, echoed on stderr.

    ``stderr`` or an empty path is stderr alone, and so is a file that cannot be opened, which is said.
    """
    if path in ("", "stderr"):
        return Log([(STDERR_FD, NOTICE)], console=program)
    try:
        fd = LogFile(path).fd
    except OSError as error:
        say(program, f'[alert] could not open error log file: open() "{path}" failed {describe(error)}')
        fd = STDERR_FD
    return Log([(fd, NOTICE)], console=program)
