"""Statements of the nginx configuration language (bytes in, words out).

A statement is words followed by ``;`` or ``{``; ``}`` closes a block. What ends a word, which
escapes are undone and how long a word may be follows nginx, which reads through a buffer of
4096 bytes: a word or a comment that does not fit it is an error.
"""

import re
from typing import NoReturn

from .errors import ConfigError, located

BUFFER = 4096

_SPACE = re.compile(rb"[ \t\r\n]*+")
# "{" belongs to the word when it follows "$" directly: ${name} is one word.
_BARE = re.compile(rb"(?:\\.|\$\{*+|[^ \t\r\n;{\\$])*+", re.DOTALL)
_QUOTED = {
    b'"': re.compile(rb'(?:[^"\\]|\\.)*+', re.DOTALL),
    b"'": re.compile(rb"(?:[^'\\]|\\.)*+", re.DOTALL),
}
_ESCAPE = re.compile(rb"\\([\"'\\trn])")
_ESCAPED = {b"t": b"\t", b"r": b"\r", b"n": b"\n"}


def _unescape(word: bytes) -> bytes:
    """``\\"`` ``\\'`` ``\\\\`` ``\\t`` ``\\r`` ``\\n``; any other backslash stays."""
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), word)


def decode(data: bytes) -> str:
    """A word as text; bytes that are not UTF-8 survive as surrogates."""
    return data.decode("utf-8", "surrogateescape")


class Lexer:
    """Reads statements from ``data``; ``name`` is the file's, None for the text of ``-g``."""

    def __init__(self, data: bytes, name: str | None) -> None:
        self._data = data
        self._position = 0
        self._limit = BUFFER if name is not None else len(data) + 1
        self.name = name
        self.line = 1

    @property
    def place(self) -> str:
        """``FILE:LINE`` of what was read last."""
        return "command line" if self.name is None else f"{self.name}:{self.line}"

    def fail(self, message: str) -> NoReturn:
        """Raise ConfigError for the current line."""
        raise ConfigError(located(message, self.place))

    def statement(self) -> tuple[str, list[str]]:
        """What ended the statement, and its words.

        The end is ``;``, ``{``, ``}`` (no words) or the empty string at the end of the file.
        """
        words: list[str] = []
        while True:
            char = self._next()
            if not char:
                if words:
                    self._unfinished()
                return "", words
            if char in b";{}":
                if bool(words) == (char == b"}"):
                    self.fail(f'unexpected "{decode(char)}"')
                self._position += 1
                return decode(char), words
            words.append(decode(self._quoted(char) if char in b"\"'" else self._bare()))

    def skip_block(self) -> None:
        """Read to the ``}`` of a block whose ``{`` has just been read, whatever is in it."""
        depth = 1
        while depth:
            end, words = self.statement()
            if end == "{":
                if words[0].endswith("_by_lua_block"):
                    self._skip_lua()
                else:
                    depth += 1
            elif end == "}":
                depth -= 1
            elif not end:
                self.fail('unexpected end of file, expecting "}"')

    def _next(self) -> bytes:
        """Pass white space and comments; the next byte is returned but not passed."""
        while True:
            end = _SPACE.match(self._data, self._position).end()  # type: ignore[union-attr]
            self._advance(end)
            char = self._data[end : end + 1]
            if char != b"#":
                return char
            newline = self._data.find(b"\n", end, end + self._limit)
            if newline < 0:
                self._check_length(end, b"")
                newline = len(self._data)
            self._advance(newline)

    def _bare(self) -> bytes:
        start = self._position
        end = _BARE.match(self._data, start, start + self._limit).end()  # type: ignore[union-attr]
        self._terminated(start, end, b"")
        if self._data[end] not in b";{" and end + 1 - start >= self._limit:
            self._check_length(start, b"")
        self._advance(end)
        return _unescape(self._data[start:end])

    def _quoted(self, quote: bytes) -> bytes:
        start = self._position + 1
        end = _QUOTED[quote].match(self._data, start, start + self._limit).end()  # type: ignore[union-attr]
        self._terminated(start, end, quote)
        if end + 1 - start >= self._limit:
            self._check_length(start, b"")
        self._advance(end + 1)
        after = self._data[end + 1 : end + 2]
        if after and after not in b" \t\r\n;{)":
            self.fail(f'unexpected "{decode(after)}"')
        return _unescape(self._data[start:end])

    def _terminated(self, start: int, end: int, quote: bytes) -> None:
        """The byte at ``end`` is there, fits the buffer, and ends the word."""
        if end - start < self._limit and end < len(self._data) and self._data[end : end + 1] != b"\\":
            return
        self._check_length(start, quote)
        self._unfinished()

    def _check_length(self, start: int, quote: bytes) -> None:
        """Fail if nginx would have filled its buffer from ``start`` on with more to come."""
        if start + self._limit >= len(self._data):
            return
        self.line += self._data.count(b"\n", self._position, start)
        if quote:
            self.fail(f'too long parameter, probably missing terminating "{decode(quote)}" character')
        self.fail(f'too long parameter "{decode(self._data[start : start + 10])}..." started')

    def _unfinished(self) -> NoReturn:
        self._advance(len(self._data))
        if self.name is None:
            self.fail('unexpected end of parameter, expecting ";"')
        self.fail('unexpected end of file, expecting ";" or "}"')

    def _advance(self, position: int) -> None:
        self.line += self._data.count(b"\n", self._position, position)
        self._position = position

    def _skip_lua(self) -> None:
        """Pass Lua code up to its closing brace: strings and comments may hold braces and quotes."""
        depth = 1
        for found in _LUA.finditer(self._data, self._position):
            if found[0] in (b"{", b"}"):
                depth += 1 if found[0] == b"{" else -1
                if not depth:
                    self._advance(found.end())
                    return
        self._advance(len(self._data))
        self.fail('unexpected end of file, expecting "}"')


_LUA = re.compile(
    rb"--\[(=*)\[.*?\]\1\]|--[^\n]*|\[(=*)\[.*?\]\2\]"
    rb"|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|[{}]",
    re.DOTALL,
)
