"""Logs that nobody reads: sessions, reloads and the end do not wait for them."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.processes import ROOT, USER, Session, Site, imap, wait_for

SESSIONS = 400  # with two lines of 600 bytes each
LONG_NAME = "u" * 450
_XOFF, _XON = b"\x13", b"\x11"


class Silent:
    """Where log lines go until nothing more fits in. ``directive`` is the error_log's first word."""

    directive = "stderr"
    stderr: int = subprocess.DEVNULL

    def read(self) -> bytes:
        """What there is by now, without waiting."""
        raise NotImplementedError


class Pipe(Silent):
    def __init__(self, site: Site, stack: contextlib.ExitStack) -> None:
        self._reader, self.stderr = os.pipe()
        for fd in (self._reader, self.stderr):
            stack.callback(os.close, fd)
        fcntl.fcntl(self.stderr, fcntl.F_SETPIPE_SZ, 4096)

    def read(self) -> bytes:
        os.set_blocking(self._reader, False)
        return os.read(self._reader, 65536)


class Journal(Silent):
    def __init__(self, site: Site, stack: contextlib.ExitStack) -> None:
        self._reader, writer = socket.socketpair()
        stack.enter_context(self._reader)
        stack.enter_context(writer)
        self.stderr = writer.fileno()

    def read(self) -> bytes:
        return self._reader.recv(1 << 20, socket.MSG_DONTWAIT)


class Terminal(Silent):
    def __init__(self, site: Site, stack: contextlib.ExitStack) -> None:
        self._screen, self.stderr = pty.openpty()
        for fd in (self._screen, self.stderr):
            stack.callback(os.close, fd)
        os.write(self._screen, _XOFF)

    def read(self) -> bytes:
        os.write(self._screen, _XON)
        os.set_blocking(self._screen, False)
        return os.read(self._screen, 65536)


class Fifo(Silent):
    directive = "fifo"

    def __init__(self, site: Site, stack: contextlib.ExitStack) -> None:
        self._path = site.directory / "fifo"
        os.mkfifo(self._path, 0o666)
        self._stack = stack
        self._reader = -1

    def read(self) -> bytes:
        if self._reader < 0:
            self._reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            self._stack.callback(os.close, self._reader)
        return os.read(self._reader, 65536)


class Syslog(Silent):
    def __init__(self, site: Site, stack: contextlib.ExitStack) -> None:
        path = site.directory / "syslog"
        self._socket = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._socket.bind(str(path))
        path.chmod(0o777)
        self.directive = f"syslog:server=unix:{path}"

    def read(self) -> bytes:
        return self._socket.recv(65536, socket.MSG_DONTWAIT) + b"\n"


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("kind", [Pipe, Journal, Terminal, Fifo, Syslog])
def test_nobody_waits_for_a_log(
    site: Site, auth: AuthServer, port: int, stack: contextlib.ExitStack, kind: type[Silent]
) -> None:
    log = kind(site, stack)  # type: ignore[call-arg]
    site.configure(imap(auth, port), main=f"{USER} error_log {log.directive} info;", log="error.log notice")
    child = stack.enter_context(
        subprocess.Popen(
            site.command("-g", "daemon off;"), cwd=site.directory, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=log.stderr, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    )  # fmt: skip
    try:
        wait_for("the pid file", lambda: site.pid_in_file() == child.pid)
        site.wait_workers(1)
        for _ in range(SESSIONS):
            with Session(port, LONG_NAME) as session:
                session.exchange()
        for count in range(200):  # the master's own lines
            os.kill(child.pid, signal.SIGWINCH)
            if count % 50 == 0:
                site.wait_log("SIGWINCH", count=count // 50 + 1)
        if log.stderr >= 0:
            assert os.get_blocking(log.stderr), "others have it too"
        with Session(port) as session:
            session.exchange()
        text = b""

        def told() -> bool:
            nonlocal text
            with contextlib.suppress(BlockingIOError):
                while data := log.read():
                    text += data
            with Session(port):
                return re.search(rb"\[alert\] \d+#0: \d+ log lines lost \(11: ", text) is not None

        wait_for("the number of lost lines", told)
    finally:
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0


def test_end_does_not_wait_for_a_log(
    site: Site, auth: AuthServer, port: int, stack: contextlib.ExitStack
) -> None:
    """Neither does a start, with a FIFO that nobody has opened."""
    Fifo(site, stack)
    site.configure(imap(auth, port), log="fifo info")
    child = site.start()
    for _ in range(SESSIONS):
        with Session(port, LONG_NAME) as session:
            session.exchange()
    (worker,) = site.wait_workers(1)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(30) == 0
    assert not Path(f"/proc/{worker}").exists()
