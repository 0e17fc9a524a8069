"""A server program that runs in the foreground, in a directory of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from support import ports
from support.closing import Closing
from support.listener import PATIENCE
from support.processes import ROOT, children


class ProgramError(Exception):
    """It did not start, did not stop, or did not what was waited for; carries what it said."""


class Program(Closing):
    """Base of the servers that the tests run. A subclass writes its configuration, then calls _start().

    Use as a context manager, or call close().
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.directory.chmod(0o755)  # its processes of other users look into it

    def said(self) -> str:
        """What it has printed and logged."""
        output = self.directory / "output"
        return output.read_text("latin-1") if output.exists() else ""

    def close(self) -> None:
        """End it with TERM, by process id, and remove its directory."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)  # it ends what it has started
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired as error:
                for child in children(self._process.pid):
                    os.kill(child, signal.SIGKILL)
                self._process.kill()
                self._process.wait()
                raise ProgramError(f"{self.name} ignores TERM: {self.said()[-4000:]}") from error
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _start(
        self, command: Sequence[str], listens: Sequence[int], up: Callable[[], bool] = lambda: True
    ) -> None:
        """Run it until all ports listen and it is ``up``."""
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        try:
            self._wait("listen", lambda: all(map(ports.listening, listens)) and up())
        except BaseException:
            self.close()
            raise

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProgramError(f"{self.name} did not {what}: {self.said()[-4000:]}")
            time.sleep(0.01)


def path_of(name: str) -> str:
    """Where the program is; daemons are not in every user's path."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or name
