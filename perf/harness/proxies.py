"""nginx and fastmail as the same thing: a master with pinned workers, started, reloaded and stopped."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import configuration
from .configuration import PROTOCOLS, SERVER_NAMES, Main, ServerBlock
from .figures import EXACT, TUNED_NAME
from .machine import ROOT, VENV_PYTHON, Nginx, Ports
from .measure import MeasurementError, alive, children

START = 15.0  # seconds that a proxy may take to its first greeting, or to a reload
STOP = 10.0  # and to its end
ASK_AGAIN = 0.001  # seconds between two questions whether it greets
PACKAGED = ROOT / "packaging" / "fastmail.conf"
TUNED = 16  # auth_http_keepalive of who tunes it; nginx's exact bytes are had with 0


@dataclass(frozen=True)
class Variant:
    """A proxy to be measured: what runs, and what differs in its configuration."""

    name: str
    command: tuple[str, ...]
    module: Path | None = None
    extra: Sequence[str] = ()  # mail directives that only this one has
    additions: bool = False  # server blocks have theirs
    environment: Mapping[str, str] = field(default_factory=dict)
    baseline: bool = False  # others are compared with it
    beside: bool = False  # measured only where Scenario.beside says so, with nothing asked


def nginx_variant(nginx: Nginx, name: str, baseline: bool = True) -> Variant:
    return Variant(name, (str(nginx.binary), "-e", "stderr"), nginx.mail_module, baseline=baseline)


def packaged_keepalive() -> int:
    """What the packaged configuration sets. Raises MeasurementError."""
    found = re.search(r"^\s*auth_http_keepalive (\d+);", PACKAGED.read_text(), re.MULTILINE)
    if found is None:
        raise MeasurementError(f"{PACKAGED} has no auth_http_keepalive")
    return int(found[1])


def fastmail_variant(engine: str = "thread", keepalive: int | None = None) -> Variant:
    """``engine`` is "thread" (the default arrangement of the loops) or "nested"; ``keepalive`` None: as
    packaged."""
    keepalive = packaged_keepalive() if keepalive is None else keepalive
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return Variant(
        "fastmail" + (f", {engine}" if engine != "thread" else ""),
        (str(VENV_PYTHON), "-m", "fastmail"),
        extra=(f"auth_http_keepalive {keepalive};",),
        additions=True,
        environment={"PYTHONPATH": path} | ({} if engine == "thread" else {"FASTMAIL_ENGINE": engine}),
    )


def other_settings() -> list[Variant]:
    """fastmail with nginx's exact bytes, and tuned."""
    return [
        replace(fastmail_variant(keepalive=keepalive), name=name, beside=True)
        for name, keepalive in ((EXACT, 0), (TUNED_NAME, TUNED))
    ]


class Server:
    """A started master process in a directory of its own; stop() ends it."""

    def __init__(
        self, name: str, directory: Path, command: Sequence[str], text: str, port: int, *,
        greets: bool, workers: int = 1, cores: set[int], environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.directory = directory
        self._configuration = directory / "server.conf"
        (directory / "logs").mkdir(parents=True)
        self._configuration.write_text(text)
        began = time.monotonic()
        with open(directory / "output", "wb") as output:
            self._process = subprocess.Popen(
                [*command, "-p", f"{directory}/", "-c", "server.conf"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=directory,  # python -m would find another fastmail in the directory that we run in
                env={**os.environ, **(environment or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )  # fmt: skip
        try:
            self._await(port, b"" if greets else None)
            self.start_seconds = time.monotonic() - began  # to the first greeting
            self.workers = self._find_workers(workers)
        except BaseException:
            self.stop()
            raise

    def _await(self, port: int, words: bytes | None) -> None:
        """Until these words are in its greeting; None: until it takes a connection.

        Raises MeasurementError when it has ended, or takes longer than START.
        """
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise MeasurementError(f"{self.name} has ended instead of greeting:\n{self.words()}")
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=START) as client:
                    if words is None or ((greeting := client.recv(512)) and words in greeting):
                        return
            except OSError:
                pass
            time.sleep(ASK_AGAIN)
        raise MeasurementError(f"{self.name} does not greet after {START:.0f} s:\n{self.words()}")

    def _find_workers(self, expected: int) -> list[int]:
        deadline = time.monotonic() + START
        found: list[int] = []
        while len(found) != expected:  # nothing else is expected: no helpers
            if time.monotonic() > deadline:
                words = f"has {len(found)} children instead of {expected} workers"
                raise MeasurementError(f"{self.name} {words}:\n{self.words()}")
            time.sleep(ASK_AGAIN)
            found = children(self._process.pid)
        return found

    def reload(self, smtp_port: int) -> float:
        """Seconds from SIGHUP until somebody is greeted as a changed server_name says.

        Raises MeasurementError when nobody is.
        """
        old, new = SERVER_NAMES
        self._configuration.write_text(self._configuration.read_text().replace(old, new))
        began = time.monotonic()
        self._process.send_signal(signal.SIGHUP)
        self._await(smtp_port, new.encode())
        took = time.monotonic() - began
        self.workers = [pid for pid in children(self._process.pid) if pid not in self.workers]
        return took

    def check(self) -> None:
        """Raises MeasurementError when the workers are not those that were started."""
        if self._process.poll() is not None or not all(map(alive, self.workers)):
            raise MeasurementError(f"{self.name}: a worker has died:\n{self.words()}")

    def words(self) -> str:
        """The end of what it wrote to its log and its standard output."""
        texts = []
        for path in (self.directory / "logs" / "error.log", self.directory / "output"):
            if path.exists():
                texts += path.read_text(errors="replace").splitlines()[-10:]
        return "\n".join(texts) or "nothing"

    def errors(self) -> list[str]:
        """The lines of its error log."""
        path = self.directory / "logs" / "error.log"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            orphans = children(self._process.pid)
            self._process.kill()
            self._process.wait()
            for orphan in orphans:
                with suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)


@dataclass
class Proxy:
    """A running variant and where it listens, by the name of the server block."""

    variant: Variant
    ports: dict[str, int]
    server: Server

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def worker(self) -> int:
        """The first; most have only one."""
        return self.server.workers[0]


class Stage:
    """Everything that the proxies of one run share, and the way to start one."""

    def __init__(
        self, directory: Path, ports: Ports, proxy_core: int, load_core: int, user: str | None, log_level: str
    ) -> None:
        self.backends = {protocol: ports.take() for protocol in PROTOCOLS}
        self.auth_port = ports.take()
        self.thinking_auth_port = ports.take()
        self.proxy_core = proxy_core
        self.load_core = load_core
        self._directory = directory
        self._ports = ports
        self._blocks: list[ServerBlock] = configuration.server_blocks(directory, self.thinking_auth_port)
        self._user = user
        self._log_level = log_level
        self._started = 0

    def start(self, variant: Variant, workers: int = 1, cores: Sequence[int] = ()) -> Proxy:
        """With one worker on the proxies' core, or with workers on these cores, one after the other."""
        ports = {block.name: self._ports.take() for block in self._blocks}
        affinity = [f"{1 << core:b}" for core in cores]
        main = Main(self._user, self._log_level, variant.module, workers, affinity)
        text = main.text("proxy") + configuration.mail(
            ports, self._blocks, self.auth_port, variant.extra, variant.additions
        )
        server = Server(
            variant.name, self._next_directory(), variant.command, text, ports["smtp"], greets=True,
            workers=workers, cores=set(cores) or {self.proxy_core}, environment=variant.environment,
        )  # fmt: skip
        return Proxy(variant, ports, server)

    def start_auth(self, nginx: Nginx) -> Server:
        """nginx's own http as auth server, on the core of the load."""
        text = Main(self._user, self._log_level).text("auth")
        text += configuration.auth_server(self.auth_port, self.backends)
        command = (str(nginx.binary), "-e", "stderr")
        return Server(
            "the auth server", self._next_directory(), command, text, self.auth_port,
            greets=False, cores={self.load_core},
        )  # fmt: skip

    def _next_directory(self) -> Path:
        self._started += 1
        return self._directory / str(self._started)
