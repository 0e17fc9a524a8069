"""A tap relays a connection and shows what passes: one in front of fastmail, another before each backend."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Self

from fastmail.demo.screen import Event

_BLOCK = 65_536  # bytes
_LINES = 8  # shown of what one side says before the other answers
_WIDTH = 240  # characters shown of a line
_TLS = b"\x16\x03"  # how a TLS handshake begins (RFC 8446 section 5.1)


class Login:
    """Notices on either leg that a login has succeeded: from then on bytes are relayed."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._awaited: bytes | None = None  # how the reply begins that lets the client in
        self.done = False

    def said(self, line: bytes) -> None:
        """A line towards the server."""
        words = line.upper().split()
        if self._protocol == "imap" and words[1:2] in ([b"LOGIN"], [b"AUTHENTICATE"]):
            self._awaited = line.split()[0] + b" OK"
        elif self._protocol == "pop3" and words[:1] in ([b"PASS"], [b"AUTH"], [b"APOP"]):
            self._awaited = b"+OK"
        elif self._protocol == "smtp":
            self._awaited = b"235"
            self.done |= words[:1] == [b"MAIL"]  # fastmail logs in at the backend by XCLIENT

    def heard(self, line: bytes) -> None:
        """A line from the server."""
        self.done |= self._awaited is not None and line.startswith(self._awaited)


class Tap:
    """Holds a port of 127.0.0.1 while entered, takes connections once opened, and relays to ``target``.

    The two sides are called ``near`` (it connects) and ``far``. With ``relayed`` what passes after the login
    is shown too, as said by the client: by the tap before the backend, so once, and for TLS clients as well.
    """

    def __init__(
        self,
        protocol: str,
        near: str,
        far: str,
        target: tuple[str, int],
        show: Callable[[Event], None],
        *,
        relayed: bool,
    ) -> None:
        self._protocol = protocol
        self._near, self._far = near, far
        self._target = target
        self._show = show
        self._relayed = relayed
        self._running: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        return self

    async def bind(self, port: int = 0) -> Self:
        """Take a port of 127.0.0.1. Connections are refused until open()."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, start_serving=False)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def open(self) -> None:
        await self._server.start_serving()

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
        far_writer = None
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            login = Login(self._protocol)
            up, down = _Side(upwards=True), _Side(upwards=False)
            await asyncio.gather(
                self._pump(reader, far_writer, login, up, down),
                self._pump(far_reader, writer, login, down, up),
            )
        except (OSError, asyncio.CancelledError):
            pass  # a side has gone, or the demo is ending: __aexit__ waits for this task
        finally:
            self._running.discard(task)
            writer.close()
            if far_writer is not None:
                far_writer.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        login: Login,
        this: _Side,
        other: _Side,
    ) -> None:
        while data := await reader.read(_BLOCK):
            self._tell(other, other.rest(), login.done)
            for line in this.lines(data):
                relayed = login.done
                (login.said if this.upwards else login.heard)(line)
                self._tell(this, this.shown(line), relayed or (this.upwards and login.done))
            writer.write(data)
            await writer.drain()
        self._tell(this, this.rest(), login.done)
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _tell(self, side: _Side, text: str | None, relayed: bool) -> None:
        if text is None or (relayed and not self._relayed):
            return
        near = "client" if relayed else self._near
        source, target = (near, self._far) if side.upwards else (self._far, near)
        self._show(Event(self._protocol, source, target, text))


class _Side:
    """What one side has said: whole lines, and of many in a row the first ones."""

    def __init__(self, *, upwards: bool) -> None:
        self.upwards = upwards
        self._partial = b""
        self._shown = 0
        self._tls = False

    def lines(self, data: bytes) -> list[bytes]:
        """The lines that are complete now. Of TLS there is one, which is none: what it says is hidden."""
        if self._tls:
            return []
        if not self._partial and data.startswith(_TLS):
            self._tls = True
            return [_TLS]
        *lines, partial = (self._partial + data).split(b"\n")
        self._partial = partial[:_BLOCK]
        return [line.rstrip(b"\r") for line in lines]

    def shown(self, line: bytes) -> str | None:
        """What to show of it; None: enough has been shown."""
        if line == _TLS:
            return "(TLS: what is said before the login is encrypted)"
        self._shown += 1
        if self._shown > _LINES:
            return None
        text = re.sub(
            r"[\x00-\x1f\x7f]", lambda c: f"\\x{ord(c[0]):02x}", line.decode(errors="backslashreplace")
        )
        return text if len(text) <= _WIDTH else text[:_WIDTH] + " ..."

    def rest(self) -> str | None:
        """The other side speaks: how much of this one has not been shown."""
        more = self._shown - _LINES
        self._shown = 0
        return f"... {more} more line{'s' * (more > 1)}" if more > 0 else None
