"""Plays auth servers to fastmail.auth's client, and its engine."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

import uvloop

from fastmail.auth.client import AuthClient
from fastmail.config import AuthHttp
from support.listener import PATIENCE

OK = b"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: 143\r\n\r\n"
TIMEOUT = 60_000  # ms: long enough that only tests of the timeout meet it

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def request(*lines: bytes, target: bytes = b"/auth", version: bytes = b"1.0") -> bytes:
    """A request as the engine makes it."""
    head = [b"GET " + target + b" HTTP/" + version, b"Host: 127.0.0.1", b"Auth-Method: plain"]
    return b"\r\n".join([*head, *lines, b"", b""])


class Engine:
    """Keeps what it is told, by handle."""

    def __init__(self) -> None:
        self.told: dict[int, bytes | tuple[int, bytes]] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def auth_answered(self, handle: int, header: bytes) -> None:
        self._tell(handle, header)

    def auth_failed(self, handle: int, reason: int, message: bytes = b"") -> None:
        self._tell(handle, (reason, message))

    def _tell(self, handle: int, what: bytes | tuple[int, bytes]) -> None:
        assert handle not in self.told, "told twice"
        self.told[handle] = what
        if handle in self._waiting:
            self._waiting[handle].set_result(None)

    async def outcome(self, handle: int) -> bytes | tuple[int, bytes]:
        if handle not in self.told:
            self._waiting[handle] = asyncio.get_running_loop().create_future()
            await self._waiting[handle]
        return self.told[handle]


class Server:
    """An auth server that keeps all bytes of all connections; ``serve`` plays one connection."""

    def __init__(self, serve: Serve) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, tls: ssl.SSLContext | None = None, path: str | None = None) -> AuthHttp:
        if path is not None:
            self._server = await asyncio.start_unix_server(self._run, path)
            return AuthHttp("unix", "localhost", socket.AF_UNIX, path, "/auth", f"unix:{path}")
        self._server = await asyncio.start_server(self._run, "127.0.0.1", 0, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        return at(port, "https" if tls else "http")

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            data = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.requests.append(error.partial)
            raise
        self.requests.append(data)
        return data

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(task := asyncio.current_task())  # type: ignore[arg-type]
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def at(port: int, scheme: str = "http", host: str = "127.0.0.1") -> AuthHttp:
    return AuthHttp(scheme, host, socket.AF_INET, ("127.0.0.1", port), "/auth", f"127.0.0.1:{port}")  # type: ignore[arg-type]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """On the loop that workers use. Raises TimeoutError after the patience."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test(), PATIENCE))


def ask(
    serve: Callable[[Server], Serve] | bytes,
    *requests: bytes,
    timeout: int = TIMEOUT,
    keepalive: int = 0,
    path: str | None = None,
    tls: ssl.SSLContext | None = None,
    trusted: ssl.SSLContext | None = None,
) -> tuple[list[bytes | tuple[int, bytes]], Server]:
    """Put the requests to a server one after another; the outcomes, and the server with its records."""
    outcomes: list[bytes | tuple[int, bytes]] = []
    server = Server(lambda reader, writer: play(reader, writer))
    play = answering(serve)(server) if isinstance(serve, bytes) else serve(server)

    async def test() -> None:
        auth_http = await server.start(tls, path)
        engine = Engine()
        client = AuthClient(engine, auth_http, timeout=timeout, keepalive=keepalive, tls=trusted, error=print)
        for handle, data in enumerate(requests):
            client.ask(handle, data)
            outcomes.append(await engine.outcome(handle))
            await client.settled()
        await client.close()
        await server.stop()

    run(test)
    return outcomes, server


def answering(*answers: bytes, close: bool = True) -> Callable[[Server], Serve]:
    """Each request on a connection gets the next answer; then the server closes, or waits."""

    def bind(server: Server) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for answer in answers:
                await server.read(reader)
                writer.write(answer)
                await writer.drain()
            if not close:
                await reader.read()

        return serve

    return bind
