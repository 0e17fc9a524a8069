"""fastmail as an operator meets it: a directory, a configuration, commands, signals, log lines and pids."""

import contextlib
import fcntl
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from support.authserver import AuthServer
from support.closing import Closing
from support.listener import PATIENCE, Connection, Listener
from support.ports import HOST

ROOT = Path(__file__).parents[2]
NOBODY = 65534
AS_ROOT = os.getuid() == 0
USER = "user nobody nogroup;" if AS_ROOT else ""
"""A line of the configuration: workers without privileges, where that can be."""

_LAUNCHER = """\
import sys
sys.path.insert(0, {root!r})
from fastmail.cli import main
{patch}
sys.exit(main())
"""


def wait_for(what: str, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Look until ``condition`` holds. Raises AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ended(pid: int) -> bool:
    return not alive(pid)


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may end by itself meanwhile, and be taken by another parent than us."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def children(pid: int) -> list[int]:
    """The processes that it has started, those included that have ended and that it has not looked at."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def opened(pid: int) -> dict[int, str]:
    """What each of its descriptors leads to, but for one that is closed while we look."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[int(path.name)] = os.readlink(path)
    return found


def title(pid: int) -> str:
    """What ``ps`` shows."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()


def imap(auth: AuthServer, port: int, more: str = "") -> str:
    """A mail block with one server."""
    return (
        f"auth_http 127.0.0.1:{auth.port}/auth; server {{ listen 127.0.0.1:{port}; protocol imap; {more} }}"
    )


class Site:
    """An installation in a directory of its own: everything it starts is ended by close()."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fastmail-"))
        self.directory.chmod(0o755)  # workers of another user look into it
        self.configuration = self.directory / "mail.conf"
        self.log_file = self.directory / "error.log"
        self.pid_file = self.directory / "fastmail.pid"
        self.bootstrap_log = self.directory / "boot.log"
        self._children: list[subprocess.Popen[bytes]] = []
        self._masters: list[int] = []

    def configure(
        self,
        mail: str = "",
        *,
        main: str = "",
        log: str = "error.log info",
        workers: int = 1,
        connections: int = 512,
    ) -> None:
        """Write the configuration; ``mail`` is the content of its mail block."""
        self.configuration.write_text(
            f"{main}\nworker_processes {workers};\nerror_log {log};\npid fastmail.pid;\n"
            f"events {{ worker_connections {connections}; }}\nmail {{\n{mail}\n}}\n"
        )

    def command(self, *arguments: str, name: str = "fastmail", patch: str = "") -> list[str]:
        """A command line of ``name`` for this directory; ``patch`` is Python run before it starts."""
        own = ["-p", str(self.directory), "-c", str(self.configuration), "-e", str(self.bootstrap_log)]
        if name == "fastmail" and not patch:
            return [sys.executable, "-m", "fastmail", *own, *arguments]
        launcher = self.directory / name
        launcher.write_text(_LAUNCHER.format(root=str(ROOT), patch=patch))
        return [sys.executable, str(launcher), *own, *arguments]

    def run(
        self, *arguments: str, name: str = "fastmail", closed: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; its output is bytes as Latin-1. ``closed``: descriptors 0 to 2 are."""
        without = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"] if closed else []
        return subprocess.run(
            [*without, *self.command(*arguments, name=name)], env=self._environment({}), cwd=self.directory,
            stdin=subprocess.DEVNULL, capture_output=True, encoding="latin-1", timeout=120,
        )  # fmt: skip

    def signal(self, word: str) -> None:
        """``fastmail -s WORD``."""
        result = self.run("-s", word)
        assert (result.returncode, result.stderr) == (0, "")

    def start(
        self,
        *arguments: str,
        patch: str = "",
        environment: dict[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> "subprocess.Popen[bytes]":
        """Start the master in the foreground; returns when it listens and its pid file is there. Its workers
        have not been started by then: see wait_workers().

        ``within`` is a command that becomes the one whose words follow it.
        """
        since = self.log_size
        command = [*within, *self.command("-g", "daemon off;", *arguments, patch=patch)]
        child = self.launch(command, environment or {})
        wait_for(
            "pid file",
            lambda: child.poll() is not None or self.pid_in_file() == child.pid,
        )
        assert child.poll() is None, self.output() + "".join(self.log(since))
        return child

    def launch(
        self, command: list[str], environment: dict[str, str], sockets: Sequence[socket.socket] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start any command in the foreground; ``sockets`` are its descriptors 3, 4 and so on."""
        high = [fcntl.fcntl(sock, fcntl.F_DUPFD, 100) for sock in sockets]

        def place() -> None:
            for number, fd in enumerate(high, 3):
                os.dup2(fd, number)

        with (self.directory / "output").open("wb") as output:
            child = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=range(3, 3 + len(high)),
                preexec_fn=place if high else None,
            )
        for fd in high:
            os.close(fd)
        self._children.append(child)
        return child

    def start_daemon(self, *arguments: str, closed: bool = False) -> int:
        """Start in the background; returns the master's pid."""
        result = self.run(*arguments, closed=closed)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        return self.adopt()

    def adopt(self, successor_of: int | None = None) -> int:
        """Wait for a master that was started in the background, or by another one; returns its pid."""
        wait_for("the new pid file", lambda: self.pid_in_file() not in (None, successor_of))
        self._masters.append(self.pid)
        return self.pid

    def upgrade(self, workers: int = 1) -> tuple[int, int]:
        """Send USR2; the old master's pid and the new one's, once that has so many workers which serve."""
        old = self.pid
        os.kill(old, signal.SIGUSR2)
        new = self.adopt(old)
        self.wait_workers(workers)
        return old, new

    def reload(self, workers: int = 1) -> list[int]:
        """``fastmail -s reload``; the new workers' pids, once the old ones have ended, as without sessions
        they do."""
        old = self.workers()
        self.signal("reload")
        new = self.wait_workers(workers, besides=old)
        wait_for("the old workers' end", lambda: not any(map(alive, old)))
        return new

    @property
    def pid(self) -> int:
        """What the pid file says."""
        return int(self.pid_file.read_text())

    def pid_in_file(self) -> int | None:
        """The same, or None while there is none."""
        try:
            return self.pid
        except (FileNotFoundError, ValueError):
            return None

    def workers(self, master: int | None = None) -> list[int]:
        """The pids of the master's living workers, draining ones included."""
        return [child for child in children(master or self.pid) if alive(child)]

    def wait_workers(self, count: int, *, besides: Sequence[int] = ()) -> list[int]:
        """Wait until ``count`` workers accept that are not among ``besides``; their pids."""

        def ready() -> bool:
            return len([pid for pid in self.workers() if pid not in besides and serving(pid)]) == count

        wait_for(f"{count} workers", ready)
        return [pid for pid in self.workers() if pid not in besides]

    def output(self) -> str:
        """What the foreground process printed."""
        return (self.directory / "output").read_text()

    @property
    def log_size(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def log(self, since: int = 0) -> list[str]:
        """The lines from byte ``since`` on."""
        if not self.log_file.exists():
            return []
        with self.log_file.open("rb") as file:
            file.seek(since)
            return file.read().decode("latin-1").splitlines()

    def messages(self, since: int = 0) -> list[str]:
        """The lines without date and pid: ``[notice] exit``."""
        return [re.sub(r"^\S+ \S+ (\[\w+\]) \d+#0: ", r"\1 ", line) for line in self.log(since)]

    def wait_log(self, pattern: str, since: int = 0, count: int = 1) -> str:
        """Wait for ``count`` lines that the regular expression is found in; the last of them."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self.log(since) if re.search(pattern, line)]
            return len(found) >= count

        try:
            wait_for(f"log line {pattern!r}", look)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n" + "\n".join(self.log(since))) from None
        return found[-1]

    def close(self) -> None:
        """End what was started, by pid, and remove the directory."""
        started = [child.pid for child in self._children if child.poll() is None]
        for pid in [*reversed(self._masters), *started]:
            if alive(pid):
                workers = self.workers(pid)
                send(pid, signal.SIGTERM)
                with contextlib.suppress(AssertionError):
                    wait_for("the master's end", functools.partial(ended, pid))
                for leftover in (pid, *workers):
                    if alive(leftover):
                        send(leftover, signal.SIGKILL)
        for child in self._children:
            child.wait(PATIENCE)
        shutil.rmtree(self.directory)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def serving(pid: int) -> bool:
    """Whether the worker hears of signals already."""
    try:
        return signal.SIGTERM not in blocked(pid, pid)
    except (FileNotFoundError, ProcessLookupError):
        return False


def blocked(pid: int, thread: int) -> set[int]:
    """The signals that a thread of a process has blocked. Raises OSError if it is gone."""
    status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    found = re.search(r"^SigBlk:\s+([0-9a-f]+)", status, re.M)
    assert found is not None
    mask = int(found[1], 16)
    return {number for number in range(1, signal.NSIG) if mask >> (number - 1) & 1}


class Echo(Listener):
    """An IMAP backend that accepts every login, and then sends each line back behind ``* ``."""

    def serve(self, connection: Connection) -> None:
        connection.perform("* OK ready")
        line = connection.read_until(b"\r\n")
        tag = line.split(b" ")[0]
        while line.rstrip().endswith(b"}"):
            connection.perform("+ OK")
            line = connection.read_until(b"\r\n")
        connection.perform(tag + b" OK logged in\r\n")
        while True:
            connection.perform(b"* " + connection.read_until(b"\r\n"))


class Session(Closing):
    """A client's logged-in IMAP connection."""

    def __init__(self, address: int | str, user: str = "user") -> None:
        """Connect to a port, or to the path of a unix socket, and log in. Raises AssertionError, OSError."""
        self._socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self._file = self._socket.makefile("rb")
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.connect(address if isinstance(address, str) else (HOST, address))
            greeting = self._file.readline()
            assert greeting == b"* OK IMAP4 ready\r\n", greeting
            self._socket.sendall(f"a LOGIN {user} secret\r\n".encode())
            reply = self._file.readline()
            assert reply == b"a OK logged in\r\n", reply
        except BaseException:
            self.close()
            raise

    def exchange(self, line: str = "hello") -> None:
        """One line there and back."""
        self._socket.sendall(line.encode() + b"\r\n")
        reply = self._file.readline()
        assert reply == f"* {line}\r\n".encode(), reply

    def ended(self) -> bool:
        """Whether the proxy has closed it; waits for that, or for the patience."""
        try:
            return self._file.readline() == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()
