"""aiohttp's connections to one auth server, with the answers' headers kept as they came."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from fastmail.auth.request import NotCarried

Addresses = Sequence[tuple[int, Any]]
"""(family, address) of each."""

MAX_HEADER = 8192  # bytes kept of an answer that does not end; nginx allows 1024 in all
MAX_CONNECTIONS = 256  # to one auth server, from one worker


_TIMEOUTS = (b"HTTP/1.0 408", b"HTTP/1.1 408")  # RFC 9110 section 15.5.9: before an idle connection is closed


class Handler(ResponseHandler):
    """aiohttp's protocol of one connection, keeping the bytes of each answer's header.

    Rebuilding them from what aiohttp has parsed would lose a TAB before a value, the length, a bad line.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, unasked: Callable[[], None]) -> None:
        super().__init__(loop)
        self._unasked = unasked
        self.opened = loop.time()
        self.header: bytes | None = None
        """The whole answer header, from the status line to the empty line, once it is there."""
        self.received = False
        self.used = 0
        self.idle = False
        self._kept = bytearray()

    def set_response_params(self, **options: Any) -> None:
        # aiohttp calls this before each request that it sends on the connection.
        self.header = None
        self.received = False
        self.used += 1
        self.idle = False
        self._kept.clear()
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        if self.idle and data:  # nobody has asked: it would be taken for the next answer
            self.close()
            if not data.startswith(_TIMEOUTS):
                self._unasked()
            return
        self._keep(data)
        super().data_received(data)

    def _keep(self, data: bytes) -> None:
        self.received = self.received or bool(data)
        if self.header is not None or len(self._kept) >= MAX_HEADER:
            return
        start = max(0, len(self._kept) - 3)
        self._kept += data[: MAX_HEADER - len(self._kept)]
        end = header_end(self._kept, start)
        if end:
            self.header = bytes(self._kept[:end])


def header_end(data: bytes | bytearray, start: int = 0) -> int:
    """Where the header ends: after the first empty line, whichever line ends it uses; 0 if it does not."""
    for first in (b"\n", b"\r\n"):
        if data.startswith(first):
            return len(first)
    ends = [at + len(mark) for mark in (b"\n\n", b"\n\r\n") if (at := data.find(mark, start)) >= 0]
    return min(ends, default=0)


class Exchange:
    """One request under way: its deadline, and where its answer's header arrives."""

    def __init__(self, request: bytes, timeout: float, to_connect: float) -> None:
        self.request = request  # as it has to arrive
        self.address = 0  # which of the server's a new connection leads to
        self.sent = False  # a server may have got something of it
        self.timeout = timeout  # seconds
        self.deadline = asyncio.timeout(to_connect)
        self.header: bytes | None = None
        """The answer's header as received, once it is complete."""


current: contextvars.ContextVar[Exchange] = contextvars.ContextVar("exchange")
"""The exchange that this task carries: aiohttp passes nothing of ours to its response objects."""


class _Verbatim:
    """A transport to which the next write brings other bytes."""

    def __init__(self, transport: Any, data: bytes) -> None:
        self._transport = transport
        self._data = data
        self.sent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, _: bytes) -> None:
        self.sent = True
        self._transport.write(self._data)


class ClientRequest(aiohttp.ClientRequest):
    """aiohttp's request, of which the engine's own bytes are sent.

    aiohttp's would be UTF-8, have ``Host`` first, and lack a field that stands before the same name in
    another case. It writes a request without a body at once, and in one piece.
    """

    async def send(self, connection: Any) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        exchange = current.get()
        exchange.sent = True
        verbatim = _Verbatim(protocol.transport, exchange.request)
        protocol.transport = verbatim
        try:
            response = await super().send(connection)
        finally:
            if protocol.transport is verbatim:
                protocol.transport = verbatim._transport
        if not verbatim.sent:
            connection.close()
            raise NotCarried("the connection takes no data")
        return response


class Incomplete(Exception):
    """The connection ended, or broke the protocol, before the answer's header was there."""


class Response(aiohttp.ClientResponse):
    """aiohttp's response that hands the header's bytes to its exchange."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        exchange = current.get()
        handler: Handler = connection.protocol
        # The request is sent: the answer has the whole time for itself (auth_http_timeout).
        exchange.deadline.reschedule(asyncio.get_running_loop().time() + exchange.timeout)
        try:
            return await super().start(connection)
        except (aiohttp.ClientError, OSError) as error:
            if handler.used > 1 and not handler.received:
                raise  # a kept connection that the server had closed: aiohttp asks once more on a new one
            raise Incomplete from error
        finally:
            # At once: a connection whose answer is over may serve another exchange in the next moment.
            exchange.header = handler.header


class FixedResolver(AbstractResolver):
    """That of the addresses that this exchange is to ask, whatever the name: the configuration resolved them
    at load (nginx asks once)."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        numeric_family, (numeric, numeric_port) = self._addresses[current.get().address]
        return [
            ResolveResult(
                hostname=host, host=numeric, port=numeric_port,
                family=numeric_family, proto=0, flags=socket.AI_NUMERICHOST,
            )
        ]  # fmt: skip

    async def close(self) -> None:
        pass


class _Pool(aiohttp.BaseConnector):
    """A connector with our protocol class, and a limit of its own for idle connections.

    aiohttp has a public way for neither; all that this package knows of its insides stands in this file.
    """

    def __init__(
        self, *, keepalive: int, keepalive_time: float, unasked: Callable[[], None], **options: Any
    ) -> None:
        options |= {"force_close": True} if keepalive == 0 else {"keepalive_timeout": keepalive_time}
        super().__init__(limit=MAX_CONNECTIONS, **options)
        self._factory = partial(Handler, self._loop, self._keep_none)  # type: ignore[assignment]
        self._keepalive = keepalive
        self._keepalive_time = keepalive_time
        self._unasked = unasked

    def _keep_none(self) -> None:
        """The server has sent what was not asked for: what it says next may answer another's request."""
        if self._keepalive:
            self._keepalive = 0
            self._unasked()
        for idle in list(self._conns.values()):
            for protocol, _ in idle:
                protocol.close()

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        protocol.idle = True
        full = len(self._conns.get(key, ())) >= self._keepalive
        old = self._loop.time() - protocol.opened >= self._keepalive_time
        super()._release(key, protocol, should_close=should_close or full or old)


class _TCPPool(_Pool, aiohttp.TCPConnector):
    pass


class _UnixPool(_Pool, aiohttp.UnixConnector):
    pass


def pool(
    addresses: Addresses,
    *,
    tls: ssl.SSLContext | None,
    keepalive: int,
    keepalive_time: float,
    unasked: Callable[[], None],
) -> aiohttp.BaseConnector:
    """Connections to a server that has these addresses, see Exchange.address; at most ``keepalive`` are idle,
    which are closed ``keepalive_time`` (seconds) after they were opened.

    Once the server has sent what was not asked for, none is kept any more, and ``unasked()`` is called. Needs
    the running loop.
    """
    if addresses[0][0] == socket.AF_UNIX:
        path = addresses[0][1]
        return _UnixPool(path=path, keepalive=keepalive, keepalive_time=keepalive_time, unasked=unasked)
    return _TCPPool(
        keepalive=keepalive,
        keepalive_time=keepalive_time,
        unasked=unasked,
        resolver=FixedResolver(addresses),
        use_dns_cache=False,
        happy_eyeballs_delay=None,
        ssl=True if tls is None else tls,
    )
