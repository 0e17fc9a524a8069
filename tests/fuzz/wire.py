"""A socket of a random peer, and the world that all of them live in."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

Address = tuple[int, Any]
MARK = b"S3cretMarkOfAPassw0rd"
"""Part of every password: it may be found in no log and in nothing that a client is told before the relay."""


Serve = Callable[["Wire"], Awaitable[None]]


class World:
    """The peers of one round: when they are frozen nobody does anything, but nobody leaves either."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.defects: list[str] = []
        self.counts: dict[str, int] = {}
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0
        self._listeners: list[socket.socket] = []

    def random(self) -> random.Random:
        """Choices of the next peer, which depend on the seed only."""
        self._number += 1
        return random.Random(f"{self.seed}/{self._number}")

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def defect(self, text: str) -> None:
        self.defects.append(text)

    def start(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.defect(f"a peer failed: {error!r}")

    @property
    def busy(self) -> int:
        return len(self._tasks)

    def freeze(self) -> None:
        self._going.clear()

    def thaw(self) -> None:
        self._going.set()

    async def going(self) -> None:
        await self._going.wait()

    async def end(self) -> None:
        for sock in self._listeners:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._listeners.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def listen(
        self, family: int, path: str, serve: Serve, *, backlog: int = 256, rude: bool = True
    ) -> Address:
        """Serve each connection with a peer of its own, until the round ends."""
        sock = socket.socket(family)
        sock.setblocking(False)
        sock.bind(path or ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        sock.listen(backlog)
        self._listeners.append(sock)

        def accept() -> None:
            with contextlib.suppress(OSError):
                wire = Wire(self, sock.accept()[0])
                self.start(wire.live(serve(wire), rude=rude))

        asyncio.get_running_loop().add_reader(sock, accept)
        name: Any = sock.getsockname()
        return family, path or name[:2]


class Wire:
    """One connection. All raise OSError when it is lost; reading raises EOFError at its end."""

    def __init__(self, world: World, sock: socket.socket) -> None:
        self.world = world
        self.random = world.random()
        self.socket = sock
        self.eof = False
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._tls: ssl.SSLObject | None = None
        self._coming, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sending = asyncio.Lock()
        sock.setblocking(False)

    @classmethod
    async def connect(cls, world: World, address: Address) -> Wire:
        wire = cls(world, socket.socket(address[0]))
        if wire.random.random() < 0.2:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        await wire._loop.sock_connect(wire.socket, address[1])
        return wire

    async def live(self, job: Awaitable[None], *, rude: bool = True) -> None:
        """Do the job, survive what the other side does, leave in some way; with a reset only if ``rude``."""
        try:
            await job
        except (OSError, EOFError):
            pass
        finally:
            self.close(reset=rude and self.random.random() < 0.3)

    async def pause(self, most: float) -> None:
        await asyncio.sleep(self.random.random() * most)
        await self.world.going()

    async def secure(self, context: ssl.SSLContext, name: str | None = None) -> ssl.SSLObject:
        """Speak TLS from now on: as its client if the server has a name."""
        self._coming.write(self.take_all())
        tls = context.wrap_bio(self._coming, self._leaving, server_side=name is None, server_hostname=name)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._take_in()
            else:
                await self._flush()
                self._tls = tls
                self.world.count("TLS handshakes")
                return tls

    async def _flush(self) -> None:
        async with self._sending:
            await self.send_raw(self._leaving.read())

    async def _take_in(self) -> None:
        data = await self._loop.sock_recv(self.socket, 65536)
        if not data:
            self.eof = True
            raise EOFError
        self._coming.write(data)

    async def send_raw(self, data: bytes) -> None:
        """Beneath TLS."""
        await self._loop.sock_sendall(self.socket, data)

    async def send(self, data: bytes) -> None:
        if self._tls is None:
            await self.send_raw(data)
        elif data:
            self._tls.write(data)
            await self._flush()

    async def send_pieces_raw(self, data: bytes) -> None:
        """Beneath TLS, which is not looked for any more."""
        self._tls = None
        await self.send_pieces(data)

    async def send_pieces(self, data: bytes, pause: float = 0.01) -> None:
        """All of it, cut at random, sometimes in many small packets."""
        at = 0
        sizes: tuple[int, ...] = self.random.choice(
            ((1, 2, 5), (10, 100, 1000), (4096, 65536), (len(data) or 1,))
        )
        if len(data) > 3000:
            sizes = (4096, 16384, 65536, 65537, len(data))
        while at < len(data):
            size = self.random.choice(sizes)
            await self.send(data[at : at + size])
            at += size
            if self.random.random() < 0.2:
                await self.pause(pause)
            else:
                await self.world.going()

    async def fill(self, most: int = 65536) -> None:
        if self._tls is not None:
            self._received += await self._decrypt(self._tls, most)
            return
        data = await self._loop.sock_recv(self.socket, most)
        if not data:
            self.eof = True
            raise EOFError
        self._received += data

    async def _decrypt(self, tls: ssl.SSLObject, most: int) -> bytes:
        while True:
            try:
                data = tls.read(most)
            except ssl.SSLWantReadError:
                if self._leaving.pending and not self._sending.locked():  # else the sender sees to it
                    await self._flush()
                await self._take_in()
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self.eof = True
                raise EOFError
            return data

    def received(self) -> bytes:
        """What has come and not been taken."""
        return bytes(self._received)

    async def until(self, mark: bytes) -> bytes:
        while (at := self._received.find(mark)) < 0:
            await self.fill()
        return self._take(at + len(mark))

    async def read(self, size: int) -> bytes:
        while len(self._received) < size:
            await self.fill()
        return self._take(size)

    def take_all(self) -> bytes:
        return self._take(len(self._received))

    def _take(self, size: int) -> bytes:
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def read_for(self, seconds: float, most: int = 65536) -> None:
        """Read and forget what comes within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self.fill(most)
                    self._received.clear()
                    await self.world.going()

    def _say_goodbye(self) -> None:
        """Send close_notify, if there is room for it."""
        if self._tls is not None and not self._sending.locked():
            # An alert that SSL_shutdown() met would stay in the queue of errors: another would be blamed.
            self._coming.read()
            with contextlib.suppress(OSError):
                self._tls.unwrap()
            with contextlib.suppress(OSError):
                self.socket.send(self._leaving.read())

    def half_close(self) -> None:
        self._say_goodbye()
        self.socket.shutdown(socket.SHUT_WR)

    def close(self, *, reset: bool = False) -> None:
        if not reset:
            self._say_goodbye()
        with contextlib.suppress(OSError):
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
