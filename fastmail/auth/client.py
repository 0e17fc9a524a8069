"""Carries auth requests of the engine to an auth server, and the answers back."""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401  looked up by name, too late for an unprivileged worker, when a host is used
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from errno import ECONNREFUSED, EIO, ETIMEDOUT
from typing import Protocol

import aiohttp
from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11
from yarl import URL

from fastmail._speedups import AUTH_CLOSED, AUTH_TIMED_OUT
from fastmail.auth.connection import (
    MAX_CONNECTIONS,
    ClientRequest,
    Exchange,
    Incomplete,
    Response,
    current,
    pool,
)
from fastmail.auth.request import NotCarried, parse
from fastmail.config import AuthHttp
from fastmail.config.address import print_address
from fastmail.logs import describe

MAX_BODY = 16384  # bytes of a body that are read for the sake of keeping the connection
BODY_SECONDS = 5.0


class Engine(Protocol):
    """Where answers go: see ``_speedups.Engine``."""

    def auth_answered(self, handle: int, header: bytes) -> None: ...
    def auth_failed(self, handle: int, reason: int, message: bytes = b"") -> None: ...


class AuthClient:
    """The exchanges of one worker with one auth server.

    ``timeout`` is auth_http_timeout in milliseconds: for connecting and sending, and again for the answer's
    header. ``keepalive`` is auth_http_keepalive: with 0, each request is HTTP/1.0 on its own connection.
    ``keepalive_time`` is auth_http_keepalive_time in milliseconds.
    ``tls_name`` is the name to check and to send, if not the URL's host. ``error`` is told what concerns no
    session. Use it on the worker's loop.
    """

    def __init__(
        self, engine: Engine, auth_http: AuthHttp, *,
        timeout: int, keepalive: int, keepalive_time: int = 60_000,
        tls: ssl.SSLContext | None = None, tls_name: str | None = None,
        error: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._auth_http = auth_http
        self._timeout = timeout / 1000
        self._keepalive = keepalive
        self._keepalive_time = keepalive_time / 1000
        self._tls = tls
        self._tls_name = tls_name or None
        self._error = error
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._waiting: deque[tuple[float, int, bytes]] = deque()
        scheme = "https" if auth_http.scheme == "https" else "http"
        port = "" if auth_http.family == socket.AF_UNIX else f":{auth_http.address[1]}"
        self._origin = f"{scheme}://{auth_http.host}{port}"

    def ask(self, handle: int, request: bytes) -> None:
        """Begin the exchange of the session ``handle``; the engine gets its end in any case.

        With MAX_CONNECTIONS under way it waits its turn, as bytes: a task and all that aiohttp makes for it
        take thirty times the memory.
        """
        loop = asyncio.get_running_loop()
        if len(self._tasks) >= MAX_CONNECTIONS:
            self._waiting.append((loop.time() + self._timeout, handle, request))
        else:
            self._begin(handle, request, self._timeout)

    def _begin(self, handle: int, request: bytes, timeout: float) -> None:
        task = asyncio.get_running_loop().create_task(self._exchange(handle, request, timeout))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """The next one's turn. Its time to connect has begun when it was asked for."""
        self._tasks.discard(task)
        while self._waiting and not self._closed:
            deadline, handle, request = self._waiting.popleft()
            left = deadline - asyncio.get_running_loop().time()
            if left > 0:
                self._begin(handle, request, left)
                return
            self._engine.auth_failed(handle, AUTH_TIMED_OUT)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Give up what is under way and close every connection."""
        self._closed = True
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _exchange(self, handle: int, request: bytes, timeout: float) -> None:
        exchange = Exchange(request, self._timeout, timeout)
        current.set(exchange)
        response = None
        error: Exception = Incomplete()
        try:
            response = await self._fetch_somewhere(exchange, request)
        except Exception as failed:
            error = failed
        # Every answer whose header is there is the engine's to judge, whatever aiohttp thinks of it.
        header = exchange.header
        if header is not None:
            self._engine.auth_answered(handle, header)
        else:
            self._engine.auth_failed(handle, *failure(error, self._auth_http, exchange.address))
        if response is not None:
            await self._finish(response)

    async def _fetch_somewhere(self, exchange: Exchange, data: bytes) -> aiohttp.ClientResponse:
        """Ask the server's first address; the next if it cannot be connected to, and so on."""
        while True:
            try:
                return await self._fetch(exchange, data)
            except (aiohttp.ClientConnectorError, TimeoutError) as error:
                following = exchange.address + 1
                if exchange.sent or isinstance(error, aiohttp.ClientSSLError):
                    raise
                if following >= len(self._auth_http.addresses):
                    raise
                self._error(passed_over(error, self._auth_http, exchange.address))
                exchange.address = following
                exchange.deadline = asyncio.timeout(exchange.timeout)

    async def _fetch(self, exchange: Exchange, data: bytes) -> aiohttp.ClientResponse:
        request = parse(data)
        url = URL(self._origin + request.target, encoded=True)
        if url.raw_path_qs != request.target:
            raise NotCarried("URI is not a plain path")
        async with exchange.deadline:
            return await self._open().get(
                url, headers=request.fields, allow_redirects=False, server_hostname=self._tls_name
            )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            auth_http = self._auth_http
            self._session = aiohttp.ClientSession(
                connector=pool(
                    auth_http.addresses, tls=self._tls,
                    keepalive=self._keepalive, keepalive_time=self._keepalive_time, unasked=self._unasked,
                ),
                request_class=ClientRequest,
                response_class=Response,
                # What needs no Connection header: 1.0 if every connection is closed, 1.1 if it is kept.
                version=HttpVersion11 if self._keepalive else HttpVersion10,
                skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                raise_for_status=False,
                trust_env=False,
            )  # fmt: skip
        return self._session

    def _unasked(self) -> None:
        server = f"auth http server {self._auth_http.text}"
        self._error(f"{server} sent data that was not asked for: no connection is kept any more")

    async def _finish(self, response: aiohttp.ClientResponse) -> None:
        """Read what follows the header, if it is short, so that the connection can serve again."""
        if self._keepalive:
            left = MAX_BODY
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    while left > 0 and not response.content.at_eof():
                        left -= len(await response.content.read(left))
            except (aiohttp.ClientError, OSError):
                pass
        response.close()  # closes the connection unless the answer is over and aiohttp has taken it back


def passed_over(error: Exception, auth_http: AuthHttp, address: int) -> str:
    """What is logged of an address that could not be connected to, when another is asked in its place."""
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else ETIMEDOUT
    return _io(f"connect() to {_printed(auth_http, address)}", number or EIO) + " while in http auth state"


def failure(error: Exception, auth_http: AuthHttp, address: int = 0) -> tuple[int, bytes]:
    """Reason and log message for an exchange without an answer: nginx's words where it has some.

    ``address`` is which of the server's addresses was asked last.
    """
    server = f"auth http server {_printed(auth_http, address)}"
    if isinstance(error, TimeoutError) and address == 0:
        return AUTH_TIMED_OUT, b""  # the engine has the words
    if isinstance(error, TimeoutError):
        text = f"{server} timed out {describe(OSError(ETIMEDOUT, os.strerror(ETIMEDOUT)))}"
        return AUTH_CLOSED, text.encode()
    if isinstance(error, NotCarried):
        text = f"{server} was not asked: {error}"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        text = f"{server} sent a bad certificate: {_tls_reason(error.certificate_error)}"
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        text = f"{server} failed the TLS handshake: {_tls_reason(error.os_error)}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        text = _refused(error.os_error.errno or EIO, auth_http, address)
    elif isinstance(error, Incomplete):
        text = _cut(error.__cause__, server)
    elif isinstance(error, OSError) and error.errno:
        text = _io("recv()", error.errno)
    else:
        text = f"{server} could not be asked: {type(error).__name__}"  # its text might hold credentials
    return AUTH_CLOSED, text.encode()


def _printed(auth_http: AuthHttp, address: int) -> str:
    return print_address(*auth_http.addresses[address])


def _refused(number: int, auth_http: AuthHttp, address: int) -> str:
    # nginx connects without waiting, so a refusal meets it while it reads; a unix socket refuses at once.
    if number == ECONNREFUSED and auth_http.family != socket.AF_UNIX:
        return _io("recv()", number)
    return _io(f"connect() to {_printed(auth_http, address)}", number)


def _cut(cause: BaseException | None, server: str) -> str:
    if isinstance(cause, aiohttp.ClientResponseError):
        return f"{server} sent invalid response"
    if isinstance(cause, OSError) and cause.errno:
        return _io("recv()", cause.errno)
    return ""  # nginx logs nothing when the server closes before the empty line


def _io(call: str, number: int) -> str:
    return f"{call} failed {describe(OSError(number, os.strerror(number)))}"


def _tls_reason(error: BaseException) -> str:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or type(error).__name__
    return str(reason).rstrip(".")
