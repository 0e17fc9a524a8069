"""nginx or fastmail running a mail configuration in a directory of its own: one interface for both."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from support import ports

KINDS = ("fastmail", "nginx")

_ROOT = Path(__file__).parents[2]
_NGINX_MODULE = "/usr/lib/nginx/modules/ngx_mail_module.so"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


class ProxyError(Exception):
    """The proxy did not start or did not stop; carries what it printed."""


class Proxy:
    """A started proxy with one worker. Use as a context manager, or call stop().

    ``main`` is put before the events block: ``user nobody;``, for example.
    """

    def __init__(self, kind: str, mail: str, listens: Sequence[int], *, main: str = "") -> None:
        self.kind = kind
        self.directory = Path(tempfile.mkdtemp(prefix=f"{kind}-"))
        self.directory.chmod(0o755)  # workers of another user look into it
        (self.directory / "logs").mkdir()
        self.configuration = self.directory / "nginx.conf"
        self.configuration.write_text(
            f"{main}\nworker_processes 1;\nerror_log logs/error.log info;\npid nginx.pid;\n"
            f"events {{ worker_connections 4096; }}\nmail {{\n{mail}\n}}\n"
        )
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )  # fmt: skip
        try:
            self._wait("listen", lambda: all(map(ports.listening, listens)) and self._workers() != [])
        except BaseException:
            self.stop()
            raise

    @property
    def worker(self) -> int:
        """The worker's process id. Raises ProxyError if there is not exactly one."""
        workers = self._workers()
        if len(workers) != 1:
            raise ProxyError(f"{self.kind} has workers {workers}, not one")
        return workers[0]

    @property
    def log_size(self) -> int:
        """The length of the error log so far: where log(), called later, shall begin."""
        return (self.directory / "logs/error.log").stat().st_size

    def log(self, since: int = 0) -> list[str]:
        """The error log's lines from byte ``since`` on."""
        with (self.directory / "logs/error.log").open("rb") as log:
            log.seek(since)
            return (
                log.read().decode("latin-1").split("\n")[:-1]
            )  # a line may hold any other control character

    def wait_log(self, pattern: str, since: int = 0, seconds: float = 5.0) -> str:
        """The first line that the regular expression is found in; raises ProxyError if none comes."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self.log(since) if re.search(pattern, line)]
            return bool(found)

        self._wait(f"log {pattern!r}", look, seconds)
        return found[0]

    def stop(self) -> None:
        """End it with TERM, by process id, and remove its directory."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired as error:
                for worker in self._workers():
                    os.kill(worker, signal.SIGKILL)
                self._process.kill()
                self._process.wait()
                raise ProxyError(f"{self.kind} ignores TERM: {self._output()}") from error
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self) -> list[str]:
        own = f"-p {self.directory} -e {self.directory}/logs/error.log -c {self.configuration} -g".split()
        if self.kind == "nginx":
            nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
            return [nginx, *own, f"load_module {_NGINX_MODULE}; daemon off;"]
        return [sys.executable, "-m", "fastmail", *own, "daemon off;"]

    def _workers(self) -> list[int]:
        pid = self._process.pid
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def _wait(self, what: str, done: Callable[[], bool], seconds: float = _START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProxyError(f"{self.kind} did not {what}: {self._output()}")
            time.sleep(0.01)

    def _output(self) -> str:
        texts = [self.directory / name for name in ("output", "logs/error.log")]
        return "\n".join(path.read_text("latin-1")[-4000:] for path in texts if path.exists())
