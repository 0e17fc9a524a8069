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

from fastmail._speedups import EVENT_AUTH, Engine, Server, SharedCache, TLSContext
from fastmail.auth.client import AuthClient
from fastmail.config.auth_http import AuthHttp

NOBODY = 65534
HOLD_PIPES = 1100
"""Pipes of 16 pages that use up what one user may have (fs.pipe-user-pages-soft, 16384 by default)."""


def tell(text: str) -> None:
    """Not among the answers."""
    print(text, file=sys.stderr, flush=True)


def tls_of_server(certificate: str, key: str) -> TLSContext:
    context = TLSContext()
    context.alpn(b"imap")
    context.certificate(certificate.encode(), key.encode())
    context.session_id_context()
    return context


def tls_of_client(certificate: str) -> TLSContext:
    context = TLSContext()
    context.verify_server(1)
    context.trusted_certificate(certificate.encode())
    return context


def listener(family: int, path: str) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(path or ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.setblocking(False)
    sock.listen(512)
    return sock


class Victim:
    """``order``: ``servers`` (each with ``family``, ``path``, the flags ``listen`` and Server's options, with
    True for a context), ``certificate`` and its key, ``workers``, ``engine``, ``log``. Workers are engines on
    threads that share nothing but listeners, places, counter and caches."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._files: list[str] = order["certificate"]
        self._sockets = [listener(options.pop("family"), options.pop("path")) for options in order["servers"]]
        self._kept = bytearray(32768)
        self._counter = bytearray(8)
        self._places = bytearray(order["workers"])
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        for options in order["servers"]:
            family, address = options["auth_http"]
            options["auth_http"] = (family, tuple(address) if isinstance(address, list) else address)
            for name in ("server_name", "auth_http_host", "auth_http_uri", "proxy_ssl_name"):
                options[name] = options[name].encode()
            networks = options["set_real_ip_from"]
            options["set_real_ip_from"] = [(kind, bytes(packed), bits) for kind, packed, bits in networks]
            options["log"] = [(self._log, 7)]
        self.engines = [self._engine(place, order) for place in range(order["workers"])]
        self._auth = {
            (place, index): self._client(engine, options)
            for place, engine in enumerate(self.engines)
            for index, options in enumerate(order["servers"])
            if options.get("auth_http_transport") == "aiohttp"
        }
        self._pipes = [os.pipe() for _ in range(HOLD_PIPES)] if order["nobody"] else []
        self._threads = [
            threading.Thread(target=engine.run, name="engine", daemon=True) for engine in self.engines
        ]
        for thread in self._threads:
            thread.start()

    def _engine(self, place: int, order: dict[str, Any]) -> Engine:
        kept = SharedCache(self._kept)
        listeners = []
        for index, (sock, given) in enumerate(zip(self._sockets, order["servers"], strict=True)):
            options = dict(given)
            flags = options.pop("listen")
            if options.get("auth_http_cache"):
                options["auth_http_cache"] = (kept, *options["auth_http_cache"])
            options["tls"] = tls_of_server(*self._files) if options["tls"] else None
            options["proxy_tls"] = tls_of_client(self._files[0]) if options["proxy_tls"] else None
            listeners.append((sock.fileno(), f"server{index}".encode(), Server(**options), flags))
        places = (self._places, place, self._bell) if len(self._places) > 1 else None
        return Engine(
            listeners,
            log=[(self._log, 7)],
            places=places,
            connection_counter=self._counter,
            **order["engine"],
        )

    def _client(self, engine: Engine, options: dict[str, Any]) -> AuthClient:
        family, address = options["auth_http"]
        scheme: Any = "unix" if family == socket.AF_UNIX else "http"
        return AuthClient(
            engine,
            AuthHttp(scheme, "auth.test", family, address, "/", "auth"),
            timeout=options["auth_http_timeout"],
            keepalive=options["auth_http_keepalive"],
            error=tell,
        )

    def take_events(self, place: int) -> None:
        for kind, handle, payload in self.engines[place].events():
            if kind == EVENT_AUTH:
                self._auth[place, payload[0]].ask(handle, payload[1])

    def addresses(self) -> dict[str, Any]:
        return {
            "addresses": [sock.getsockname() for sock in self._sockets],
            "threads": [thread.native_id for thread in self._threads],
        }

    def stats(self) -> dict[str, int]:
        """Sums over all workers."""
        each = [engine.stats() for engine in self.engines]
        return {name: sum(stats[name] for stats in each) for name in each[0]}

    def _alive(self) -> list[bool]:
        return [thread.is_alive() for thread in self._threads]

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "nofile":
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (order["limit"] or hard, hard))
        elif order["do"] == "end":
            for engine in self.engines:
                (engine.shutdown if order["graceful"] else engine.stop)()
            for _ in range(600):
                if not any(self._alive()):
                    break
                await asyncio.sleep(0.05)
            else:
                return {"error": "run() does not return"}
            for client in self._auth.values():
                await client.close()
            stats = self.stats()
            for engine in self.engines:
                engine.close()
            if any(self._places):
                return {"error": f"places are not given back: {self._places!r}"}
            return stats
        return self.stats() | {"alive": all(self._alive())}


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
    for place, engine in enumerate(victim.engines):
        loop.add_reader(engine.event_fileno(), victim.take_events, place)
    print(json.dumps(victim.addresses()), flush=True)
    while line := await reader.readline():
        order = json.loads(line)
        if order["do"] == "end":
            for engine in victim.engines:
                loop.remove_reader(engine.event_fileno())
        print(json.dumps(await victim.obey(order)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
