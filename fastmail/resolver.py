"""Names of SMTP clients (``resolver``): PTR, confirmed by a forward lookup, over pycares.

Everything runs on the worker's loop: c-ares tells its sockets by callback and they are watched like any
other. A question gets a channel, and so a socket, a port and an id, of its own; c-ares' cache is thereby out
of the way of ours, which follows ``valid=``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import pycares
from pycares import errno as ares

from fastmail._speedups import NAME_FOUND, NAME_TEMPORARILY_UNAVAILABLE, NAME_UNAVAILABLE
from fastmail.config import ResolverServers
from fastmail.logs import Log

RESEND = 5.0  # seconds until the next server is asked, and for an answer over TCP
CACHE_IDLE = 30.0  # seconds that an answer nobody asks for is kept
CACHE_MOST = 10_000  # answers
CNAMES_MOST = 50
LOOKUPS_MOST = 1024  # clients whose names one worker looks for at a time; others get none
ADDRESSES_MOST = 256  # of one name that are compared with the client's

NXDOMAIN, TIMED_OUT = 3, 110
TEXTS = {
    1: "Format error",
    2: "Server failure",
    NXDOMAIN: "Host not found",
    4: "Unimplemented",
    5: "Operation refused",
    TIMED_OUT: "Operation timed out",
}
_CODES = {
    ares.ARES_ENODATA: NXDOMAIN,
    ares.ARES_ENOTFOUND: NXDOMAIN,
    ares.ARES_EFORMERR: 1,
    ares.ARES_ESERVFAIL: 2,
    ares.ARES_ENOTIMP: 4,
    ares.ARES_EREFUSED: 5,
}
_HOST_NAME = re.compile(r"[a-z0-9.-]{1,255}")
_BAD = pycares.ARES_SOCKET_BAD


class ResolveError(Exception):
    """A lookup failed; ``code`` is DNS's response code, or 110 when no answer came in time."""

    def __init__(self, code: int) -> None:
        super().__init__(f"({code}: {TEXTS[code]})")
        self.code = code


class Engine(Protocol):
    """Where names go: see ``_speedups.Engine``."""

    def name_found(self, handle: int, outcome: int, text: bytes, *, forward: bool = False) -> None: ...


@dataclass
class _Answer:
    values: list[str]
    expires: float
    used: float


class Resolver:
    """The servers of one ``resolver`` directive, and what they have answered. For one loop."""

    def __init__(self, servers: ResolverServers, log: Log) -> None:
        self._servers = [_printed(family, address) for family, address in servers.servers]
        self._valid = servers.valid
        kinds = ((pycares.QUERY_TYPE_A, servers.ipv4), (pycares.QUERY_TYPE_AAAA, servers.ipv6))
        self._kinds = [kind for kind, wanted in kinds if wanted]
        self._log = log
        self._next = 0
        self._cache: OrderedDict[tuple[str, int], _Answer] = OrderedDict()
        self._pending: dict[tuple[str, int], asyncio.Task[list[str]]] = {}
        self._waiting: dict[tuple[str, int], int] = {}

    async def pointer(self, address: str, seconds: float) -> str:
        """The first name that an address points to, lower-cased. Raises ResolveError."""
        name = ipaddress.ip_address(address).reverse_pointer
        async with _limit(seconds):
            return (await self._look_up(name, pycares.QUERY_TYPE_PTR))[0].lower()

    async def addresses(self, name: str, seconds: float) -> list[str]:
        """The addresses of a name. Raises ResolveError: if a family fails; or if there is no address."""
        async with _limit(seconds):
            found = await asyncio.gather(
                *(self._look_up(name, kind) for kind in self._kinds), return_exceptions=True
            )
        addresses = [address for one in found if isinstance(one, list) for address in one]
        errors = [one for one in found if isinstance(one, BaseException)]
        for error in errors:
            if not (isinstance(error, _Nothing) and addresses):
                raise error
        return addresses[:ADDRESSES_MOST]

    async def _look_up(self, name: str, kind: int) -> list[str]:
        """The records' values, from the cache or from a question that all who ask it share."""
        key = name, kind
        now = time.monotonic()
        known = self._cache.get(key)
        if known is not None and known.expires > now:
            known.used = now
            self._cache.move_to_end(key)
            return known.values
        task = self._pending.get(key)
        if task is None:
            task = self._pending[key] = asyncio.get_running_loop().create_task(self._ask(name, kind))
            self._waiting[key] = 0
        self._waiting[key] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                task.cancel()
                if self._pending.get(key) is task:
                    del self._pending[key], self._waiting[key]

    async def _ask(self, name: str, kind: int) -> list[str]:
        ttl: int | None = None
        wanted = name
        for _ in range(CNAMES_MOST):
            result = await self._answer(wanted, kind)
            records = result.answer
            values = [_value(record.data) for record in records if record.type == kind]
            for record in records:
                ttl = record.ttl if ttl is None else min(ttl, record.ttl)
            if values:
                self._keep((name, kind), values, self._valid if self._valid is not None else ttl or 0)
                return values
            aliases = [record for record in records if record.type == pycares.QUERY_TYPE_CNAME]
            if not aliases:
                raise _Nothing(NXDOMAIN)
            wanted = _value(aliases[-1].data)
        raise ResolveError(2)

    def _keep(self, key: tuple[str, int], values: list[str], seconds: float) -> None:
        now = time.monotonic()
        self._cache[key] = _Answer(values, now + seconds, now)
        self._cache.move_to_end(key)
        while self._cache:
            oldest = next(iter(self._cache))
            if len(self._cache) <= CACHE_MOST and self._cache[oldest].used > now - CACHE_IDLE:
                break
            del self._cache[oldest]

    async def _answer(self, name: str, kind: int) -> Any:
        """Ask one server after the other, RESEND seconds each, until one answers or the caller gives up."""
        self._next += 1
        first = self._next
        attempt = 0
        while True:
            server = self._servers[(first + attempt) % len(self._servers)]
            attempt += 1
            started = time.monotonic()
            result, error = await _exchange(server, name, kind)
            if error == ares.ARES_SUCCESS:
                return result
            if error == ares.ARES_ENODATA:
                raise _Nothing(NXDOMAIN)
            if error in _CODES:
                raise ResolveError(_CODES[error])
            if error == ares.ARES_ECONNREFUSED:
                self._log.error(
                    f"recv() failed (111: Connection refused) while resolving, resolver: {server}"
                )
            elif error == ares.ARES_EBADRESP:
                self._log.error(f"unexpected DNS response for {name} while resolving, resolver: {server}")
            elif error not in (ares.ARES_ETIMEOUT, ares.ARES_ECANCELLED):
                raise ResolveError(1)  # c-ares would not even ask
            if attempt % len(self._servers) == 0:  # all have failed: not at once again
                await asyncio.sleep(max(0.0, started + RESEND - time.monotonic()))


class _Nothing(ResolveError):
    """The name exists, without a record of the kind asked for."""


@contextlib.asynccontextmanager
async def _limit(seconds: float) -> AsyncIterator[None]:
    """``resolver_timeout``."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ResolveError(TIMED_OUT) from None


async def _exchange(server: str, name: str, kind: int) -> tuple[Any, int]:
    """One question to one server: the answer, and c-ares' status (no answer within RESEND: ARES_ETIMEOUT)."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, int]] = loop.create_future()
    watched: set[int] = set()

    def process(readable: int, writable: int) -> None:
        channel.process_fd(readable, writable)

    def watch(fd: int, readable: bool, writable: bool) -> None:
        watched.add(fd)
        if readable:
            loop.add_reader(fd, process, fd, _BAD)
        else:
            loop.remove_reader(fd)
        if writable:
            loop.add_writer(fd, process, _BAD, fd)
        else:
            loop.remove_writer(fd)
        if not (readable or writable):
            watched.discard(fd)

    def finish(result: Any, error: int | None) -> None:
        if not done.done():
            done.set_result((result, error or ares.ARES_SUCCESS))

    channel = pycares.Channel(
        servers=[server],
        tries=1,
        timeout=2 * RESEND,  # ours comes first
        flags=pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NOALIASES,  # no EDNS either
        # No texts: pycares 5.2 has freed them before c-ares reads them ("lookups", "resolvconf_path").
        sock_state_cb=watch,
    )
    try:
        channel.query(name, kind, callback=finish)
        async with asyncio.timeout(RESEND):
            return await done
    except TimeoutError:
        return None, ares.ARES_ETIMEOUT
    except (pycares.AresError, ValueError, UnicodeError):
        return None, ares.ARES_EBADNAME
    finally:
        channel.cancel()  # its sockets are closed here, on this thread
        for fd in list(watched):
            watch(fd, False, False)
        channel.close()


def _value(data: Any) -> str:
    for field in ("addr", "dname", "cname"):
        value = getattr(data, field, None)
        if value is not None:
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""


def _printed(family: int, address: Any) -> str:
    host, port = address
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


class ClientNames:
    """Answers an engine's questions for the host names of clients."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, handle: int, address: str, resolver: Resolver, seconds: float) -> None:
        """Begin the lookup for the session ``handle``; the engine gets an answer in any case.

        With LOOKUPS_MOST under way the answer is that there is none now: a flood of clients, or a silent name
        server, must not use up descriptors and memory.
        ``seconds`` is resolver_timeout, for each of the two lookups.
        """
        if len(self._tasks) >= LOOKUPS_MOST:
            self._engine.name_found(handle, NAME_TEMPORARILY_UNAVAILABLE, b"")
            return
        task = asyncio.get_running_loop().create_task(self._find(handle, address, resolver, seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self, handle: int, address: str, resolver: Resolver, seconds: float) -> None:
        outcome, text, forward = NAME_TEMPORARILY_UNAVAILABLE, "", False
        try:
            name = await resolver.pointer(address, seconds)
            if _HOST_NAME.fullmatch(name) is None:  # CVE-2026-28753: nothing else may see it
                text = f'{address} resolved to invalid host name "{name}"'
                return
            forward = True
            addresses = await resolver.addresses(name, seconds)
            if ipaddress.ip_address(address) in map(ipaddress.ip_address, addresses):
                outcome, text = NAME_FOUND, name
            else:
                outcome = NAME_UNAVAILABLE
        except ResolveError as error:
            if error.code == NXDOMAIN:
                outcome = NAME_UNAVAILABLE
            text = f'"{name}"' if forward else address
            text += f" could not be resolved {error}"
        finally:
            self._engine.name_found(handle, outcome, text.encode("latin-1", "replace"), forward=forward)
