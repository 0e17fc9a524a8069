"""The engine under attack, in a process of its own so that sanitizers watch nothing else.

Takes orders as lines of JSON on standard input and answers each with one on standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import threading
from typing import Any

from fastmail._speedups import EVENT_AUTH, Engine, Server, SharedCache
from fastmail.auth.client import AuthClient
from fastmail.config.auth_http import AuthHttp

NOBODY = 65534
HOLD_PIPES = 1100
"""Pipes of 16 pages that use up what one user may have (fs.pipe-user-pages-soft, 16384 by default)."""


def listener(family: int, path: str) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(path or ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.setblocking(False)
    sock.listen(512)
    return sock


class Victim:
    """``order``: ``servers`` (each with ``family``, ``path`` and Server's options), ``engine``, ``log``."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._sockets = []
        self._kept = SharedCache(bytearray(32768))
        listeners = []
        for index, options in enumerate(order["servers"]):
            sock = listener(options.pop("family"), options.pop("path"))
            self._sockets.append(sock)
            family, address = options["auth_http"]
            options["auth_http"] = (family, tuple(address) if isinstance(address, list) else address)
            for name in ("server_name", "auth_http_host", "auth_http_uri"):
                options[name] = options[name].encode()
            if options.get("auth_http_cache"):
                options["auth_http_cache"] = (self._kept, *options["auth_http_cache"])
            options["log"] = [(self._log, 7)]
            listeners.append((sock.fileno(), f"server{index}".encode(), Server(**options)))
        self.engine = Engine(listeners, log=[(self._log, 7)], **order["engine"])
        self._auth = {
            index: self._client(options)
            for index, options in enumerate(order["servers"])
            if options.get("auth_http_transport") == "aiohttp"
        }
        self._pipes = [os.pipe() for _ in range(HOLD_PIPES)] if order["nobody"] else []
        self._thread = threading.Thread(target=self.engine.run, name="engine", daemon=True)
        self._thread.start()

    def _client(self, options: dict[str, Any]) -> AuthClient:
        family, address = options["auth_http"]
        scheme: Any = "unix" if family == socket.AF_UNIX else "http"
        return AuthClient(
            self.engine,
            AuthHttp(scheme, "auth.test", family, address, "/", "auth"),
            timeout=options["auth_http_timeout"],
            keepalive=options["auth_http_keepalive"],
            error=print,
        )

    def take_events(self) -> None:
        for kind, handle, payload in self.engine.events():
            if kind == EVENT_AUTH:
                self._auth[payload[0]].ask(handle, payload[1])

    def addresses(self) -> dict[str, Any]:
        return {"addresses": [sock.getsockname() for sock in self._sockets], "thread": self._thread.native_id}

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "nofile":
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (order["limit"] or hard, hard))
        elif order["do"] == "end":
            (self.engine.shutdown if order["graceful"] else self.engine.stop)()
            for _ in range(600):
                if not self._thread.is_alive():
                    break
                await asyncio.sleep(0.05)
            else:
                return {"error": "run() does not return"}
            for client in self._auth.values():
                await client.close()
            stats = self.engine.stats()
            self.engine.close()
            return stats
        return self.engine.stats() | {"alive": self._thread.is_alive()}


async def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    first = json.loads(await reader.readline())
    if first["nobody"]:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    victim = Victim(first)
    loop.add_reader(victim.engine.event_fileno(), victim.take_events)
    print(json.dumps(victim.addresses()), flush=True)
    while line := await reader.readline():
        order = json.loads(line)
        if order["do"] == "end":
            loop.remove_reader(victim.engine.event_fileno())
        print(json.dumps(await victim.obey(order)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
