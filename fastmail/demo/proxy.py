"""Runs fastmail itself for the demo: a configuration in a temporary directory, and a child process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from fastmail.demo.protocols import Protocol
from fastmail.server.upgrade import own_command

START_TIMEOUT = 15  # seconds
STOP_TIMEOUT = 5  # seconds

_MAIN = """\
worker_processes 1;
pid fastmail.pid;
error_log error.log info;
events {{ worker_connections 512; }}
mail {{
    server_name localhost;
    auth_http 127.0.0.1:{auth_port}/auth;
{servers}
}}
"""
_SERVER = """\
    server {{
        listen 127.0.0.1:{port};
        protocol {name};
        {directives}
    }}"""


class CannotStart(Exception):
    """The proxy does not run; the text is for the operator."""


def configuration(protocols: Sequence[Protocol], ports: Mapping[str, int], auth_port: int) -> str:
    """The nginx configuration of the demo."""
    servers = "\n".join(
        _SERVER.format(port=ports[protocol.name], name=protocol.name, directives=protocol.directives)
        for protocol in protocols
    )
    return _MAIN.format(auth_port=auth_port, servers=servers)


def claim_ports(protocols: Sequence[Protocol], wanted: Mapping[str, int]) -> dict[str, int]:
    """The port for each protocol, a free one where 0 is wanted. Raises CannotStart if one is in use."""
    ports: dict[str, int] = {}
    probes: list[socket.socket] = []
    try:
        for protocol in protocols:
            port = wanted[protocol.name]
            probe = socket.socket()
            probes.append(probe)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise CannotStart(
                    f"cannot listen on 127.0.0.1:{port} for {protocol.name}: {error.strerror}"
                    " (choose other ports with --ports)"
                ) from None
            ports[protocol.name] = probe.getsockname()[1]
    finally:
        for probe in probes:
            probe.close()
    return ports


class Proxy:
    """``fastmail`` as a child process, listening once entered. Raises CannotStart."""

    def __init__(self, protocols: Sequence[Protocol], ports: Mapping[str, int], auth_port: int) -> None:
        self._configuration = configuration(protocols, ports, auth_port)
        self._ports = ports

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="fastmail-demo-")
        self._folder = Path(self._directory.name)
        self._folder.chmod(0o755)  # the workers run as another user when started by root
        (self._folder / "fastmail.conf").write_text(self._configuration)
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        names = ["-p", self._directory.name, "-e", "error.log", "-c", "fastmail.conf"]
        with open(self._folder / "output", "wb") as output:
            self._child = await asyncio.create_subprocess_exec(
                *own_command([*names, "-g", "daemon off;"]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # so that Ctrl-C reaches the demo alone, which then ends the proxy
                env=os.environ,
            )
        self.ended = asyncio.ensure_future(self._child.wait())
        try:
            async with asyncio.timeout(START_TIMEOUT):
                for port in self._ports.values():
                    await self._listening(port)
        except TimeoutError:
            raise CannotStart(f"no listening proxy after {START_TIMEOUT} seconds\n{self.log()}") from None

    async def _listening(self, port: int) -> None:
        """Wait until something listens on the port."""
        while True:
            if self.ended.done():
                raise CannotStart(f"the proxy has ended with status {self._child.returncode}\n{self.log()}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.wait((self.ended,), timeout=0.05)
            else:
                writer.close()
                return

    def log(self) -> str:
        """The last lines of what the proxy has printed and logged."""
        lines: list[str] = []
        for name in ("output", "error.log"):
            path = self._folder / name
            if path.exists():
                lines += path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-20:])

    async def __aexit__(self, *_: object) -> None:
        try:
            if hasattr(self, "ended"):
                await self._stop()
        finally:
            self._directory.cleanup()

    async def _stop(self) -> None:
        if not self.ended.done():
            self._child.terminate()
        done, _ = await asyncio.wait((self.ended,), timeout=STOP_TIMEOUT)
        if not done:
            os.killpg(self._child.pid, signal.SIGKILL)
            await self.ended
