"""IMAP's syntax as the demo's backend needs it: arguments, strings, sequence sets (RFC 3501 section 9)."""

from __future__ import annotations

import asyncio
import re

from fastmail.demo.backend import Hangup

LITERAL_LIMIT = 64 * 1024 * 1024  # bytes of all literals of one command

Argument = bytes | list["Argument"]
"""An atom or a string; or a parenthesised list."""

_LITERAL = re.compile(rb"\{(\d{1,18})(\+?)\}\r?\n\Z")
# A section, as in BODY[HEADER.FIELDS (DATE)]<0.100>, belongs to its atom.
_ATOM = re.compile(rb"(?:[^\s()\"{\[]|\[[^\]\r\n]*\])+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\.)*)"')
_SET = re.compile(rb"(\d{1,10}|\*)(:(\d{1,10}|\*))?(,(\d{1,10}|\*)(:(\d{1,10}|\*))?)*")
_LITERAL_AT = re.compile(rb"\{(\d{1,18})\+?\}\r?\n")


class BadSyntax(Exception):
    """Answered with BAD and this text."""


async def read_command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """One command with its literals in place. Raises Hangup at the end of input or over a limit."""
    command = b""
    literals = 0
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            raise Hangup("line too long") from None
        if not line.endswith(b"\n"):
            raise Hangup("closed")
        command += line
        literal = _LITERAL.search(line)
        if literal is None:
            return command
        size = int(literal[1])
        literals += size
        if literals > LITERAL_LIMIT:
            writer.write(b"* BYE literal too big\r\n")
            raise Hangup("literal too big")
        if not literal[2]:
            writer.write(b"+ OK\r\n")
            await writer.drain()
        try:
            command += await reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise Hangup("closed") from None


def parse_arguments(text: bytes) -> list[Argument]:
    """The arguments in ``text``. Raises BadSyntax."""
    stack: list[list[Argument]] = [[]]
    position = 0
    while position < len(text):
        byte = text[position : position + 1]
        if byte.isspace():
            position += 1
        elif byte == b"(":
            stack.append([])
            position += 1
        elif byte == b")":
            if len(stack) == 1:
                raise BadSyntax("unexpected )")
            inner = stack.pop()
            stack[-1].append(inner)
            position += 1
        else:
            value, position = _string(text, position)
            stack[-1].append(value)
    if len(stack) > 1:
        raise BadSyntax("missing )")
    return stack[0]


def _string(text: bytes, position: int) -> tuple[bytes, int]:
    """The string or atom at ``position``, and where it ends."""
    if match := _LITERAL_AT.match(text, position):
        end = match.end() + int(match[1])
        return text[match.end() : end], end
    if match := _QUOTED.match(text, position):
        return re.sub(rb"\\(.)", rb"\1", match[1]), match.end()
    if match := _ATOM.match(text, position):
        return match[0], match.end()
    raise BadSyntax("invalid argument")


def quote(value: bytes | None) -> bytes:
    """An nstring: NIL, a quoted string, or a literal where a quoted string cannot hold the value."""
    if value is None:
        return b"NIL"
    if len(value) < 1024 and all(0x20 <= byte < 0x7F for byte in value):
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return literal(value)


def literal(value: bytes) -> bytes:
    return b"{%d}\r\n%s" % (len(value), value)


def parse_set(text: Argument, largest: int) -> list[tuple[int, int]]:
    """The ranges of a sequence set, ``*`` being ``largest``. Raises BadSyntax."""
    if not isinstance(text, bytes) or _SET.fullmatch(text) is None:
        raise BadSyntax("invalid message set")
    ranges = []
    for part in text.split(b","):
        ends = [largest if end == b"*" else int(end) for end in part.split(b":")]
        ranges.append((min(ends), max(ends)))
    return ranges


def in_set(number: int, ranges: list[tuple[int, int]]) -> bool:
    return any(low <= number <= high for low, high in ranges)
