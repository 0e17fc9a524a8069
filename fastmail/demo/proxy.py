"""Runs fastmail itself for the demo: a configuration in a temporary directory, and a child process."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fastmail.demo.protocols import Protocol
from fastmail.demo.screen import Event
from fastmail.server.upgrade import own_command

HOST = "127.0.0.2"
"""Where it listens, on the ports that clients know: on 127.0.0.1 are the taps, which show what passes."""

START_TIMEOUT = 15  # seconds
STOP_TIMEOUT = 5  # seconds
_LINES = 20  # of the log that a failure shows

_MAIN = """\
worker_processes 1;
pid fastmail.pid;
error_log stderr info;
events {{ worker_connections 512; }}
mail {{
    server_name localhost;
    auth_http 127.0.0.1:{auth_port}/auth;
    auth_http_keepalive 4;
{tls}{servers}
}}
"""
_TLS = """\
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    starttls on;
"""
_SERVER = """\
    server {{
        protocol {name};
        {listens}
        {directives}
    }}"""


class CannotStart(Exception):
    """The proxy does not run; the text is for the operator."""


@dataclass(frozen=True)
class Ports:
    """Of each protocol; the same numbers on 127.0.0.1 and on HOST. ``tls`` is empty without a certificate."""

    plain: Mapping[str, int]
    tls: Mapping[str, int]


def configuration(protocols: Sequence[Protocol], ports: Ports, auth_port: int) -> str:
    """The nginx configuration of the demo."""
    servers = []
    for protocol in protocols:
        listens = f"listen {HOST}:{ports.plain[protocol.name]};"
        if ports.tls:
            listens += f" listen {HOST}:{ports.tls[protocol.name]} ssl;"
        servers.append(_SERVER.format(name=protocol.name, listens=listens, directives=protocol.directives))
    return _MAIN.format(auth_port=auth_port, tls=_TLS if ports.tls else "", servers="\n".join(servers))


class Proxy:
    """``fastmail`` as a child process, listening once entered. Raises CannotStart.

    ``folder`` is an empty directory for its files; ``show`` gets each line of its log once it serves.
    """

    def __init__(self, configuration: str, folder: Path, ports: Ports, show: Callable[[Event], None]) -> None:
        self._folder = folder
        self._ports = ports
        self._show = show
        self._serving = False
        self._lines: deque[str] = deque(maxlen=_LINES)
        folder.chmod(0o755)  # the workers run as another user when started by root
        (folder / "fastmail.conf").write_text(configuration)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        names = ["-p", str(self._folder), "-e", "stderr", "-c", "fastmail.conf"]
        self._child = await asyncio.create_subprocess_exec(
            *own_command([*names, "-g", "daemon off;"]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,  # so that Ctrl-C reaches the demo alone, which then ends the proxy
            env=os.environ,
        )
        self.ended = asyncio.ensure_future(self._child.wait())
        self._reading = asyncio.ensure_future(self._read_log())
        try:
            async with asyncio.timeout(START_TIMEOUT):
                for port in (*self._ports.plain.values(), *self._ports.tls.values()):
                    await self._listening(port)
            self._serving = True
        except TimeoutError:
            raise CannotStart(f"no listening proxy after {START_TIMEOUT} seconds\n{self.log()}") from None

    async def _read_log(self) -> None:
        assert self._child.stderr is not None
        async for line in self._child.stderr:
            text = line.decode(errors="backslashreplace").rstrip("\n")
            self._lines.append(text)
            if self._serving:
                self._show(Event(self._protocol_of(text), "log", "", _DATE_AND_PROCESS.sub("", text)))

    def _protocol_of(self, line: str) -> str:
        found = _PORT.search(line)
        for ports in (self._ports.plain, self._ports.tls):
            for name, port in ports.items():
                if found and int(found[1]) == port:
                    return name
        return ""

    async def _listening(self, port: int) -> None:
        """Wait until something listens on the port."""
        while True:
            if self.ended.done():
                await self._reading
                raise CannotStart(f"the proxy has ended with status {self._child.returncode}\n{self.log()}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    return
            await asyncio.wait((self.ended,), timeout=0.05)

    def log(self) -> str:
        """The last lines that the proxy has printed and logged."""
        return "\n".join(self._lines)

    async def __aexit__(self, *_: object) -> None:
        if hasattr(self, "ended"):
            await self._stop()

    async def _stop(self) -> None:
        if not self.ended.done():
            self._child.terminate()
        done, _ = await asyncio.wait({self.ended}, timeout=STOP_TIMEOUT)
        if not done:
            os.killpg(self._child.pid, signal.SIGKILL)
            await self.ended
        await self._reading


_PORT = re.compile(rf"{re.escape(HOST)}:(\d+)")
_DATE_AND_PROCESS = re.compile(r"^\S+ \S+ (?=\[)|(?<=\]) \d+#\d+:")
