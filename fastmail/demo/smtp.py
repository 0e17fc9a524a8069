"""SMTP backend of the demo (RFC 5321): takes every message and delivers it into INBOX.

It trusts its peer, as a backend behind a login proxy does: who the user is comes with XCLIENT.
"""

from __future__ import annotations

import asyncio
import re

from fastmail.demo.backend import Hangup, read_line
from fastmail.demo.mailbox import Store

SIZE_LIMIT = 64 * 1024 * 1024  # bytes of one message

_EHLO = (
    b"250-demo\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-SIZE %d\r\n250 XCLIENT ADDR LOGIN NAME\r\n"
    % SIZE_LIMIT
)
_PATH = re.compile(rb"(?:FROM|TO):\s*<([^<>]*)>", re.IGNORECASE)


class SmtpSession:
    """One SMTP session: any number of mail transactions."""

    def __init__(self, store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._sender: bytes | None = None
        self._recipients: list[bytes] = []

    async def run(self) -> None:
        self._writer.write(b"220 demo ESMTP\r\n")
        while True:
            await self._writer.drain()
            verb, _, rest = (await read_line(self._reader)).partition(b" ")
            if verb.upper() == b"DATA":
                reply = await self._data()
            else:
                reply = self._answer(verb.upper(), rest)
            self._writer.write(reply)
            if verb.upper() == b"QUIT":
                return

    def _answer(self, verb: bytes, rest: bytes) -> bytes:
        match verb:
            case b"EHLO":
                self._reset()
                return _EHLO
            case b"HELO":
                self._reset()
                return b"250 demo\r\n"
            case b"XCLIENT":
                self._reset()
                return b"220 demo ESMTP\r\n"
            case b"MAIL" if match := _PATH.match(rest):
                self._reset()
                self._sender = match[1]
                return b"250 2.1.0 OK\r\n"
            case b"RCPT" if self._sender is None:
                return b"503 5.5.1 MAIL first\r\n"
            case b"RCPT" if match := _PATH.match(rest):
                self._recipients.append(match[1])
                return b"250 2.1.5 OK\r\n"
            case b"MAIL" | b"RCPT":
                return b"501 5.5.4 Bad address\r\n"
            case b"RSET":
                self._reset()
                return b"250 2.0.0 OK\r\n"
            case b"NOOP":
                return b"250 2.0.0 OK\r\n"
            case b"QUIT":
                return b"221 2.0.0 Bye\r\n"
        return b"500 5.5.2 Unknown command\r\n"

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []

    async def _data(self) -> bytes:
        if not self._recipients:
            return b"503 5.5.1 RCPT first\r\n"
        self._writer.write(b"354 Go ahead\r\n")
        await self._writer.drain()
        data = await self._message()
        if data is None:
            reply = b"552 5.3.4 Message too big\r\n"
        else:
            self._store.inbox.add(b"Return-Path: <%s>\r\n" % self._sender + data)
            reply = b"250 2.0.0 Delivered\r\n"
        self._reset()
        return reply

    async def _message(self) -> bytes | None:
        """What comes before the line with a single dot, or None if it is more than SIZE_LIMIT."""
        lines: list[bytes] = []
        size = 0
        while True:
            line = await self._data_line()
            if line == b".\r\n":
                return b"".join(lines) if size <= SIZE_LIMIT else None
            line = line.removeprefix(b".")
            size += len(line)
            if size <= SIZE_LIMIT:
                lines.append(line)

    async def _data_line(self) -> bytes:
        """Up to the next CR LF; a bare LF ends no line (RFC 5321 section 4.1.1.4)."""
        try:
            return await self._reader.readuntil(b"\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise Hangup("no line end") from None
