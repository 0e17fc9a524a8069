"""What the measurement stands on: packages, builds, cores, ports, versions."""

import fcntl
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV_PYTHON = ROOT / ".venv" / "bin" / "python"
LOADGEN = ROOT / "build" / "perf" / "loadgen"
NGINX = Path("/usr/sbin/nginx")


class SetupError(Exception):
    """The machine lacks something; the message says what, and what to do."""


def build_loadgen() -> None:
    run_tool("make", "-s", "-C", str(ROOT / "perf" / "loadgen"))


def run_tool(*command: str) -> None:
    """Raises SetupError, with what it said, when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise SetupError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode:
        raise SetupError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()}")


@contextmanager
def machine_alone() -> Iterator[None]:
    """Waits until no other run of this tree is measuring: two at once would measure each other."""
    with open(LOADGEN.parent / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another perf/run to end", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Cores:
    """For the proxy's worker, and for everything else."""

    proxy: int
    load: int

    @classmethod
    def chosen(cls, proxy: int | None = None, load: int | None = None) -> "Cores":
        """The first that we may use and the other one does not, where none is named."""
        there = sorted(os.sched_getaffinity(0))
        for core in (proxy, load):
            if core is not None and core not in there:
                raise SetupError(f"cannot run on core {core}: there are {', '.join(map(str, there))}")
        if len(there) < 2 or (proxy is not None and proxy == load):
            raise SetupError("two cores are needed: one for the proxy, one for its clients and peers")
        proxy = next(core for core in there if core != load) if proxy is None else proxy
        return cls(proxy, next(core for core in there if core != proxy) if load is None else load)

    def take_load(self) -> None:
        """Pins this process, and what it starts, to the core of the load."""
        os.sched_setaffinity(0, {self.load})


def raise_descriptor_limit(sessions: int) -> None:
    """As far as the hard limit; a session takes two descriptors of proxy and load generator each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 2 * sessions + 200 > hard:
        raise SetupError(f"{sessions} sessions need more than the {hard} descriptors of the hard limit")


class Ports:
    """Ports of 127.0.0.1 below the range from which the kernel gives out client ports."""

    def __init__(self) -> None:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        self._next = max(1024, first - 8192)
        self._end = first

    def take(self) -> int:
        """A port that nobody listens on; never the same twice."""
        while self._next < self._end:
            port, self._next = self._next, self._next + 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise SetupError(f"no port is left below {self._end}, where net.ipv4.ip_local_port_range begins")


@dataclass(frozen=True)
class Nginx:
    """An nginx binary with mail in it."""

    binary: Path
    version: str
    mail_module: Path | None  # None: built in

    @classmethod
    def at(cls, binary: Path) -> "Nginx":
        """Raises SetupError when it cannot run or cannot do mail."""
        found = shutil.which(str(binary))
        if not found:
            raise SetupError(f"{binary} is not there, or no program")
        found = os.path.abspath(found)
        try:
            done = subprocess.run([found, "-V"], capture_output=True, text=True)
        except OSError as error:
            raise SetupError(f"cannot run {binary}: {error.strerror}") from error
        version = re.search(r"nginx version: \S+/(\S+)", done.stderr)
        if not version:
            raise SetupError(f"{binary} -V does not name a version: {done.stderr.strip()[:200]}")
        module = None
        if re.search(r"--with-mail=dynamic(\s|$)", done.stderr):
            path = re.search(r"--modules-path=(\S+)", done.stderr)
            module = Path(path[1] if path else "modules") / "ngx_mail_module.so"
            if not module.exists():
                raise SetupError(f"{binary} has mail as a module, but {module} is missing")
        elif not re.search(r"--with-mail(\s|$)", done.stderr):
            raise SetupError(f"{binary} was built without mail")
        return cls(Path(found), version[1], module)


def describe() -> list[tuple[str, str]]:
    """The machine, for the head of a report."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="(.+)"$', Path("/etc/os-release").read_text(), re.MULTILINE)
    return [
        ("processor", f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores"),
        ("system", f"{system[1] if system else 'Linux'}, kernel {platform.release()}"),
        ("network", f"loopback, congestion control {congestion_control()}"),
    ]


def congestion_control() -> str:
    """The kernel's name for what connections over 127.0.0.1 use (TCP_CONGESTION)."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
    ):
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def fastmail_versions() -> str:
    """Python and the revision of this tree; a tree with uncommitted changes is marked."""
    python = subprocess.run([str(VENV_PYTHON), "--version"], capture_output=True, text=True).stdout.strip()
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        revision = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # a release unpacked where there is no git
        revision = ""
    return f"{revision or 'unknown revision'}, {python}"
