"""POP3 backend of the demo (RFC 1939, CAPA of RFC 2449)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastmail.demo.backend import dot_stuffed, read_line
from fastmail.demo.mailbox import Message, Store


class Failed(Exception):
    """Answered with -ERR and this text."""


class Pop3Session:
    """One maildrop session: a snapshot of INBOX, deletions carried out at QUIT."""

    def __init__(self, store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._login: bytes | None = None
        self._messages: list[Message] | None = None  # None: not logged in
        self._deleted: set[int] = set()  # indexes into _messages

    async def run(self) -> None:
        self._writer.write(b"+OK demo POP3 server ready\r\n")
        while True:
            await self._writer.drain()
            verb, _, rest = (await read_line(self._reader)).partition(b" ")
            try:
                reply = self._answer(verb.upper(), rest)
            except Failed as error:
                reply = f"-ERR {error}\r\n".encode()
            self._writer.write(reply)
            if verb.upper() == b"QUIT":
                return

    def _answer(self, verb: bytes, rest: bytes) -> bytes:
        match verb:
            case b"CAPA":
                return b"+OK\r\nTOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\n.\r\n"
            case b"NOOP":
                return b"+OK\r\n"
            case b"QUIT":
                return self._quit()
            case b"USER":
                self._login = rest
                return b"+OK\r\n"
            case b"PASS":
                return self._pass(rest)
            case b"STAT":
                left = self._left()
                return b"+OK %d %d\r\n" % (len(left), sum(len(message.data) for _, message in left))
            case b"LIST":
                return self._list(rest, lambda message: b"%d" % len(message.data))
            case b"UIDL":
                return self._list(rest, lambda message: b"%d" % message.uid)
            case b"RETR":
                return b"+OK\r\n" + dot_stuffed(self._pick(rest)[1].data)
            case b"TOP":
                return self._top(rest)
            case b"DELE":
                self._deleted.add(self._pick(rest)[0] - 1)
                return b"+OK\r\n"
            case b"RSET":
                self._left()
                self._deleted.clear()
                return b"+OK\r\n"
        raise Failed("unknown command")

    def _pass(self, password: bytes) -> bytes:
        if self._login is None:
            raise Failed("USER first")
        if not self._store.accepts(self._login, password):
            raise Failed("[AUTH] wrong user name or password")
        self._messages = list(self._store.inbox.messages)
        return b"+OK logged in\r\n"

    def _left(self) -> list[tuple[int, Message]]:
        """(number, message) of what is not marked as deleted."""
        if self._messages is None:
            raise Failed("log in first")
        return [(i + 1, m) for i, m in enumerate(self._messages) if i not in self._deleted]

    def _pick(self, number: bytes) -> tuple[int, Message]:
        for candidate in self._left():
            if number.isdigit() and int(number) == candidate[0]:
                return candidate
        raise Failed("no such message")

    def _list(self, number: bytes, value: Callable[[Message], bytes]) -> bytes:
        if number:
            index, message = self._pick(number)
            return b"+OK %d %s\r\n" % (index, value(message))
        lines = b"".join(b"%d %s\r\n" % (index, value(message)) for index, message in self._left())
        return b"+OK\r\n" + lines + b".\r\n"

    def _top(self, rest: bytes) -> bytes:
        number, _, count = rest.partition(b" ")
        if not count.isdigit():
            raise Failed("TOP takes a message and a number of lines")
        header, _, body = self._pick(number)[1].data.partition(b"\r\n\r\n")
        lines = body.splitlines(keepends=True)[: int(count)]
        return b"+OK\r\n" + dot_stuffed(header + b"\r\n\r\n" + b"".join(lines))

    def _quit(self) -> bytes:
        if self._messages is not None:
            self._store.inbox.remove([self._messages[i] for i in self._deleted])
        return b"+OK bye\r\n"
