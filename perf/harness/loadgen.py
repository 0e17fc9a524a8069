"""The load generator as a child process."""

import json
import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .measure import MeasurementError

PATIENCE = 60  # seconds beyond what a scenario may take by its own bounds


class Loadgen:
    """One scenario against one proxy, in two steps so that the worker can be looked at in between.

    ``with Loadgen(...) as load`` returns when the sessions that the scenario needs beforehand stand;
    run() does the measured part and returns its counts (begin() and result() do it while others run as
    well); leaving the block ends the held sessions. ``urgent``: the kernel runs it before anything else,
    where we may ask for that. Anything that failed is a MeasurementError with the load generator's own words.
    """

    def __init__(
        self, binary: Path, scenario: str, proxy_port: int, protocol: str,
        backends: Mapping[str, int], auth_port: int | None, *,
        cores: set[int] | None = None, urgent: bool = False, **options: float | bool | str,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        command = [str(binary), scenario, "--sync", "--proxy", str(proxy_port), "--protocol", protocol]
        for name, port in backends.items():
            command += ["--backend", f"{name}={port}"]
        if auth_port:
            command += ["--auth", str(auth_port)]
        for name, value in options.items():
            if value is True:
                command.append(f"--{name}")
            elif value is not False and value != "":
                command += [f"--{name}", str(value)]
        self._patience = float(options.get("seconds", 2)) + PATIENCE
        self._command = command
        self._cores = cores
        self._urgent = urgent

    def _place(self) -> None:
        if self._cores:
            os.sched_setaffinity(0, self._cores)
        if self._urgent:
            with suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=self._place,
        )  # fmt: skip
        try:
            line = self._line()
            if line != "ready":
                raise MeasurementError(f"{self.scenario}: {_failure(line)}")
        except BaseException:
            self._stop()
            raise
        return self

    def run(self) -> dict[str, Any]:
        self.begin()
        return self.result()

    def begin(self) -> None:
        self._go()

    def result(self) -> dict[str, Any]:
        line = self._line()
        result: dict[str, Any] = json.loads(line)
        if result["failures"] or result["backend_errors"]:
            raise MeasurementError(f"{self.scenario}: {_failure(line)}")
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop()
            return
        try:
            self._go()
            line, words = self._process.communicate(timeout=PATIENCE)
        except BaseException:
            self._stop()
            raise
        if self._process.returncode:
            said = words.decode(errors="replace").strip() or _failure(line.decode(errors="replace").strip())
            raise MeasurementError(f"{self.scenario}: {said}")

    def _go(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MeasurementError(f"{self.scenario}: the load generator ended early") from None

    def _line(self) -> str:
        """The next line of the load generator; what it said on stderr is the error if there is none."""
        assert self._process.stdout is not None and self._process.stderr is not None
        deadline = time.monotonic() + self._patience
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise MeasurementError(f"{self.scenario}: no result in {self._patience:.0f} s")
                part = os.read(self._process.stdout.fileno(), 65536)
                if not part:
                    words = self._process.stderr.read().decode(errors="replace").strip()
                    raise MeasurementError(f"{self.scenario}: {words or 'the load generator ended early'}")
                line += part
        return line.decode().strip()

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def _failure(line: str) -> str:
    try:
        result = json.loads(line)
    except ValueError:
        return line
    parts = []
    if result["failures"]:
        parts.append(f"{result['failures']} sessions failed, the first: {result.get('first_failure')}")
    if result["backend_errors"]:
        parts.append(f"{result['backend_errors']} backend errors, first: {result.get('first_backend_error')}")
    return "; ".join(parts) or line
