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
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pycares
from pycares import errno as ares

from fastmail._speedups import NAME_FOUND, NAME_TEMPORARILY_UNAVAILABLE, NAME_UNAVAILABLE
from fastmail.config import ResolverServers
from fastmail.logs import Log, describe

RESEND = 5.0  # seconds until the next server is asked, and for an answer over TCP
CACHE_IDLE = 30.0  # seconds that an answer nobody asks for is kept
CACHE_MOST = 10_000  # answers
CNAMES_MOST = 50
LOOKUPS_MOST = 1024  # addresses whose names one worker looks for at a time; others get none
NETWORK_MOST = 64  # of them in one network, whose reverse zones may all be silent
NETWORK_BITS = {4: 24, 6: 48}
ADDRESSES_MOST = 256  # of one name and family that are kept and compared with the client's

SERVFAIL, NXDOMAIN, TIMED_OUT = 2, 3, 110
TEXTS = {
    1: "Format error",
    SERVFAIL: "Server failure",
    NXDOMAIN: "Host not found",
    4: "Unimplemented",
    5: "Operation refused",
    TIMED_OUT: "Operation timed out",
}
_CODES = {
    ares.ARES_ENODATA: NXDOMAIN,
    ares.ARES_ENOTFOUND: NXDOMAIN,
    ares.ARES_EFORMERR: 1,
    ares.ARES_ESERVFAIL: SERVFAIL,
    ares.ARES_ENOTIMP: 4,
    ares.ARES_EREFUSED: 5,
}
_HOST_NAME = re.compile(r"[a-z0-9.-]{1,255}")
_BAD = pycares.ARES_SOCKET_BAD


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
        return addresses

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
            values = [_value(record.data) for record in records if record.type == kind][: _most(kind)]
            for record in records:
                ttl = record.ttl if ttl is None else min(ttl, record.ttl)
            if values:
                self._keep((name, kind), values, self._valid if self._valid is not None else ttl or 0)
                return values
            aliases = [record for record in records if record.type == pycares.QUERY_TYPE_CNAME]
            if not aliases:  # a DNAME without the alias that it stands for
                raise ResolveError(SERVFAIL)
            wanted = _value(aliases[-1].data)
        raise ResolveError(SERVFAIL)

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
        first = self._next
        self._next += 1
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
                _check_descriptors()
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


def _check_descriptors() -> None:
    """c-ares does not say that it has failed for want of a descriptor. Raises OSError."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


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


def _most(kind: int) -> int:
    """How many records of an answer have a use: one over TCP has thousands of names, a megabyte of them."""
    return 1 if kind == pycares.QUERY_TYPE_PTR else ADDRESSES_MOST


def _value(data: Any) -> str:
    for field in ("addr", "dname", "cname"):
        value = getattr(data, field, None)
        if value is not None:
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""


def _printed(family: int, address: Any) -> str:
    host, port = address
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


_Key = tuple[Resolver, str, float]
_Found = tuple[int, str, bool]
"""What an engine is told: the outcome, a name or what is to be logged, whether a forward lookup failed."""

_UNAVAILABLE_NOW: _Found = (NAME_TEMPORARILY_UNAVAILABLE, "", False)


@dataclass
class _Lookup:
    address: str
    network: Network
    waiting: set[int]
    """Handles of the sessions that it is for."""
    task: asyncio.Task[_Found]


class ClientNames:
    """Answers an engine's questions for the host names of clients.

    One lookup is for all sessions of an address. It ends with the last of them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lookups: dict[_Key, _Lookup] = {}
        self._keys: dict[int, _Key] = {}  # by handle
        self._networks: Counter[Network] = Counter()

    def find(self, handle: int, address: str, resolver: Resolver, seconds: float) -> None:
        """Begin the lookup for the session ``handle``; the engine gets an answer, unless drop() comes before.

        With LOOKUPS_MOST under way, or NETWORK_MOST for one network, the answer is that there is none now: a
        flood of clients, or a silent name server, must not use up descriptors and memory.
        ``seconds`` is resolver_timeout, for each of the two lookups.
        """
        key = (resolver, address, seconds)
        lookup = self._lookups.get(key)
        if lookup is None:
            network = _network(address)
            if len(self._lookups) >= LOOKUPS_MOST or self._networks[network] >= NETWORK_MOST:
                self._tell(handle, _UNAVAILABLE_NOW)
                return
            task = asyncio.get_running_loop().create_task(_find(address, resolver, seconds))
            lookup = self._lookups[key] = _Lookup(address, network, set(), task)
            self._networks[network] += 1
            task.add_done_callback(partial(self._finish, key, lookup))
        lookup.waiting.add(handle)
        self._keys[handle] = key

    def drop(self, handle: int) -> None:
        """The session has ended."""
        key = self._keys.pop(handle, None)
        if key is None:
            return
        lookup = self._lookups[key]
        lookup.waiting.discard(handle)
        if not lookup.waiting:
            self._forget(key, lookup)
            lookup.task.cancel()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [lookup.task for lookup in self._lookups.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finish(self, key: _Key, lookup: _Lookup, task: asyncio.Task[_Found]) -> None:
        if self._lookups.get(key) is lookup:
            self._forget(key, lookup)
        found = _UNAVAILABLE_NOW
        if not task.cancelled():
            error = task.exception()
            found = task.result() if error is None else _failed(lookup.address, error)
        for handle in lookup.waiting:
            del self._keys[handle]
            self._tell(handle, found)

    def _forget(self, key: _Key, lookup: _Lookup) -> None:
        del self._lookups[key]
        self._networks[lookup.network] -= 1
        if not self._networks[lookup.network]:
            del self._networks[lookup.network]

    def _tell(self, handle: int, found: _Found) -> None:
        outcome, text, forward = found
        with contextlib.suppress(BufferError):  # the session's own deadline is near then
            self._engine.name_found(handle, outcome, text.encode("latin-1", "replace"), forward=forward)


async def _find(address: str, resolver: Resolver, seconds: float) -> _Found:
    forward = False
    try:
        name = await resolver.pointer(address, seconds)
        if _HOST_NAME.fullmatch(name) is None:  # CVE-2026-28753: nothing else may see it
            return NAME_TEMPORARILY_UNAVAILABLE, f'{address} resolved to invalid host name "{name}"', False
        forward = True
        addresses = await resolver.addresses(name, seconds)
        if ipaddress.ip_address(address) in map(ipaddress.ip_address, addresses):
            return NAME_FOUND, name, True
        return NAME_UNAVAILABLE, "", True
    except ResolveError as error:
        outcome = NAME_UNAVAILABLE if error.code == NXDOMAIN else NAME_TEMPORARILY_UNAVAILABLE
        asked = f'"{name}"' if forward else address
        return outcome, f"{asked} could not be resolved {error}", forward


def _failed(address: str, error: BaseException) -> _Found:
    """A lookup that could not even be begun: there are no descriptors left, for example."""
    reason = describe(error) if isinstance(error, OSError) and error.errno else f"({type(error).__name__})"
    return NAME_TEMPORARILY_UNAVAILABLE, f"{address} could not be resolved {reason}", False


def _network(address: str) -> Network:
    """The part of the internet whose reverse zones are likely to be one owner's."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ipaddress.ip_network((ip, NETWORK_BITS[ip.version]), strict=False)
