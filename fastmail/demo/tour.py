"""A login through the proxy, line by line, as a person would make it with nc."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Self

from fastmail.demo.mailbox import ADDRESS, PASSWORD, USER

TIMEOUT = 10  # seconds that a reply may take

SENT_SUBJECT = "Sent through the proxy"


class Surprise(Exception):
    """The proxy answered something else than expected, or nothing."""


class Conversation:
    """A connection to the proxy."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\r\n")

    async def hear(self, start: str) -> str:
        """The next line. Raises Surprise if it does not begin with ``start``."""
        try:
            async with asyncio.timeout(TIMEOUT):
                line = await self._reader.readline()
        except (OSError, TimeoutError) as error:
            raise Surprise(f'expected "{start}", got nothing: {error or "timed out"}') from None
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            raise Surprise(f'expected "{start}", but the connection was closed')
        if not text.startswith(start):
            raise Surprise(f'expected "{start}", got "{text}"')
        return text

    async def hear_until(self, end: Callable[[str], bool]) -> list[str]:
        """The lines up to and including the one that ``end`` accepts."""
        lines = [await self.hear("")]
        while not end(lines[-1]):
            lines.append(await self.hear(""))
        return lines

    async def imap(self, tag: str, command: str) -> list[str]:
        self.say(f"{tag} {command}")
        lines = await self.hear_until(lambda line: line.startswith(tag + " "))
        if not lines[-1].startswith(tag + " OK"):
            raise Surprise(f'"{command.split()[0]}" was answered with "{lines[-1]}"')
        return lines

    async def pop3(self, command: str, many: bool = False) -> list[str]:
        self.say(command)
        lines = [await self.hear("+OK")]
        if many:
            lines += await self.hear_until(lambda line: line == ".")
        return lines

    async def smtp(self, command: str | None, code: str) -> None:
        """Send a command (None: only listen) and hear a reply of that code."""
        if command is not None:
            self.say(command)
        while (await self.hear(code))[3:4] == "-":
            pass


async def send_by_smtp(talk: Conversation) -> None:
    """Log in and send a message to the demo's user."""
    identity = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    await talk.smtp(None, "220")
    await talk.smtp("EHLO localhost", "250")
    await talk.smtp("AUTH PLAIN " + identity, "235")
    await talk.smtp(f"MAIL FROM:<{ADDRESS}>", "250")
    await talk.smtp(f"RCPT TO:<{ADDRESS}>", "250")
    await talk.smtp("DATA", "354")
    for line in (f"From: <{ADDRESS}>", f"To: <{ADDRESS}>", f"Subject: {SENT_SUBJECT}", "", "Hello!"):
        talk.say(line)
    await talk.smtp(".", "250")
    await talk.smtp("QUIT", "221")


async def read_by_imap(talk: Conversation) -> str:
    """Log in and read the header of the newest message, which is returned."""
    await talk.hear("* OK")
    await talk.imap("a1", f"LOGIN {USER} {PASSWORD}")
    await talk.imap("a2", "EXAMINE INBOX")
    lines = await talk.imap("a3", "FETCH * (FLAGS BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)])")
    await talk.imap("a4", "LOGOUT")
    return "\n".join(lines)


async def read_by_pop3(talk: Conversation) -> str:
    """Log in and read the header of the newest message, which is returned."""
    await talk.hear("+OK")
    await talk.pop3(f"USER {USER}")
    await talk.pop3(f"PASS {PASSWORD}")
    count = (await talk.pop3("STAT"))[0].split()[1]
    lines = await talk.pop3(f"TOP {count} 0", many=True)
    await talk.pop3("QUIT")
    return "\n".join(lines)


Tour = Callable[[Conversation], Awaitable[str | None]]
