"""The engine's auth request, taken apart for aiohttp."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f]")
_NOT_TEXT = re.compile(r"[^\t -~]")
_TARGET = re.compile(r"/[!-~]*")


class NotCarried(Exception):
    """aiohttp would alter or refuse these bytes. str() says which field and why, never its value."""


@dataclass(frozen=True)
class Request:
    """A GET without a body: its target and its fields in order, ``?`` for what aiohttp might refuse."""

    target: str
    fields: list[tuple[str, str]]


def parse(data: bytes) -> Request:
    """Take ``GET TARGET HTTP/1.x``, header lines and an empty line apart.

    Raises NotCarried for what is no request, or more than one.
    """
    first, *lines = data.split(b"\r\n")
    method, _, rest = first.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if method != b"GET" or not version.startswith(b"HTTP/1.") or lines[-2:] != [b"", b""]:
        raise NotCarried("request is malformed")
    text = target.decode("latin-1")
    if _TARGET.fullmatch(text) is None or "#" in text:
        raise NotCarried("URI is not a plain path")
    return Request(text, [_field(line) for line in lines[:-2]])


def _field(line: bytes) -> tuple[str, str]:
    raw_name, separator, raw_value = line.partition(b": ")
    name = raw_name.decode("latin-1")
    if not separator or _TOKEN.fullmatch(name) is None:
        raise NotCarried("a header line is malformed")
    value = raw_value.decode("latin-1")
    if _CONTROL.search(value) is not None:
        raise NotCarried(f'header "{name}" has a control character')
    return name, _NOT_TEXT.sub("?", value)
