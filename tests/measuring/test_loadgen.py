"""The load generator against proxies that are none: what fails is counted, and said."""

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.certificate import Certificate
from support.listener import PATIENCE
from support.ports import HOST
from support.processes import ROOT

RST = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets


@pytest.fixture(scope="module")
def loadgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("loadgen")
    command = ["make", "-s", "-C", f"{ROOT}/perf/loadgen", f"OUT={directory}"]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer
    subprocess.run(command, check=True, env=environment)
    return directory / "loadgen"


def run(loadgen: Path, *arguments: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.run(
        [loadgen, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, timeout=60
    )


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Its port; ``serve`` is called with each connection, one after the other."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                serve(connection)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def failures(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert (done.returncode, done.stderr) == (1, "")
    result: dict[str, Any] = json.loads(done.stdout)
    assert (result["logins"], result["failures"] > 0) == (0, True)
    return result


def test_a_handshake_fails_with_the_reason(loadgen: Path) -> None:
    with server(lambda connection: connection.sendall(b"* OK ready\r\n")) as port:
        result = failures(run(loadgen, "logins", "--proxy", str(port), "--tls", "1.3", "--seconds", "0.5"))
    assert result["first_failure"] == "imap login, step 0: wrong version number"


def test_connections_reset_behind_the_greeting(loadgen: Path, tmp_path: Path) -> None:
    """It writes to connections that are gone, and is not ended by SIGPIPE."""
    context = Certificate(tmp_path).server_context()

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(b"* OK ready\r\n")
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)

    with server(serve) as port:
        failures(run(loadgen, "logins", "--proxy", str(port), "--tls", "1.3", "--seconds", "0.5"))


def test_a_port_in_use(loadgen: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        done = run(loadgen, "serve", "--backend", f"imap={port}", "--seconds", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"loadgen: bind to 127.0.0.1:{port}: Address already in use\n"


def test_results_that_cannot_be_written(loadgen: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = run(loadgen, "serve", "--seconds", "0", stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr == "loadgen: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["logins"], "--proxy says where the proxy listens"),
        (["logins", "--proxy", "143", "--resume"], "--resume is for --tls"),
        (["logins", "--proxy", "143", "--tls", "1.1"], '--tls is 1.2 or 1.3, not "1.1"'),
        (["logins", "--proxy", "0"], '"0" is not a port'),
        (["idle", "--proxy", "143", "--sessions", "1e9"], '"1e9" is not a number between 0 and 1000000'),
        (["nothing", "--proxy", "143"], 'no scenario "nothing": logins, idle, bulk, exchange, serve'),
    ],
)
def test_wrong_options(loadgen: Path, arguments: list[str], words: str) -> None:
    done = run(loadgen, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"loadgen: {words}\n")
