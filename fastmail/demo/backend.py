"""What the three backends share: a listening socket, its sessions, reading lines."""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from fastmail.demo.mailbox import Store

LINE_LIMIT = 65_536  # bytes


class Hangup(Exception):
    """The peer has gone, or has sent what cannot be read on from."""


class Session(Protocol):
    """One client of a backend. run() returns, or raises Hangup, when the session is over."""

    def __init__(self, store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async def run(self) -> None: ...


class Backend:
    """Serves one protocol on an ephemeral port of 127.0.0.1 while entered."""

    def __init__(self, session: type[Session], store: Store) -> None:
        self._session = session
        self._store = store
        self._running: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._session(self._store, reader, writer).run()
            await writer.drain()
        except (Hangup, OSError):
            pass
        except asyncio.CancelledError:
            pass  # the demo is ending: __aexit__ waits for this task
        finally:
            self._running.discard(task)
            writer.close()


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """The next line without its end. Raises Hangup at the end of input or after LINE_LIMIT bytes."""
    try:
        line = await reader.readline()
    except ValueError:
        raise Hangup("line too long") from None
    if not line.endswith(b"\n"):
        raise Hangup("closed")
    return line.rstrip(b"\r\n")


def dot_stuffed(data: bytes) -> bytes:
    """Lines for POP3 and SMTP with the closing dot (RFC 1939 section 3, RFC 5321 section 4.5.2)."""
    lines = data.split(b"\r\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"
