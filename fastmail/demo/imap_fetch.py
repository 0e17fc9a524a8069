"""What IMAP FETCH answers for one message (RFC 3501 section 6.4.5)."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastmail.demo.imap_syntax import Argument, BadSyntax, literal, parse_arguments
from fastmail.demo.mailbox import SEEN, Message
from fastmail.demo.mime import Part, envelope, pick_fields, split

_MACROS = {
    b"FAST": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"],
    b"ALL": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"],
    b"FULL": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY"],
}
_SECTION = re.compile(rb"BODY(\.PEEK)?\[([^\]]*)\](?:<(\d{1,10})\.(\d{1,10})>)?", re.IGNORECASE)

_PLAIN: dict[bytes, Callable[[Message], bytes]] = {
    b"FLAGS": lambda message: format_flags(message),
    b"UID": lambda message: b"%d" % message.uid,
    b"INTERNALDATE": lambda message: message.date.strftime('"%d-%b-%Y %H:%M:%S +0000"').encode(),
    b"RFC822.SIZE": lambda message: b"%d" % len(message.data),
    b"RFC822": lambda message: literal(message.data),
    b"RFC822.HEADER": lambda message: literal(split(message.data)[0]),
    b"RFC822.TEXT": lambda message: literal(split(message.data)[1]),
    b"ENVELOPE": lambda message: envelope(split(message.data)[0]),
    b"BODY": lambda message: Part(message.data).structure(extended=False),
    b"BODYSTRUCTURE": lambda message: Part(message.data).structure(extended=True),
}


class Fetch:
    """A compiled list of FETCH items; call it with a message. Raises BadSyntax."""

    def __init__(self, items: Argument, with_uid: bool) -> None:
        names = items if isinstance(items, list) else _MACROS.get(items.upper(), [items])
        self._items: list[tuple[bytes, Callable[[Message], bytes]]] = []
        self.marks_seen = False
        if with_uid and b"UID" not in [name.upper() for name in names if isinstance(name, bytes)]:
            self._items.append((b"UID", _PLAIN[b"UID"]))
        for name in names:
            if not isinstance(name, bytes):
                raise BadSyntax("invalid FETCH item")
            self._items.append(self._compile(name))

    def _compile(self, name: bytes) -> tuple[bytes, Callable[[Message], bytes]]:
        plain = _PLAIN.get(name.upper())
        if plain is not None:
            self.marks_seen |= name.upper() in (b"RFC822", b"RFC822.TEXT")
            return name.upper(), plain
        match = _SECTION.fullmatch(name)
        if match is None:
            raise BadSyntax("unknown FETCH item")
        peek, section, start, count = match.groups()
        self.marks_seen |= peek is None
        find = compile_section(section)
        label = b"BODY[" + section + b"]"
        if start is None:
            return label, lambda message: _nliteral(find(message))
        window = slice(int(start), int(start) + int(count))
        return label + b"<%s>" % start, lambda message: _nliteral(find(message), window)

    def __call__(self, message: Message) -> bytes:
        """The parenthesised answer; marks the message as seen where an item does."""
        news = b""
        if self.marks_seen and SEEN not in message.flags:
            message.flags.add(SEEN)
            if b"FLAGS" not in [label for label, _ in self._items]:
                news = b" FLAGS " + format_flags(message)
        return b"(" + b" ".join(label + b" " + value(message) for label, value in self._items) + news + b")"


def format_flags(message: Message) -> bytes:
    return b"(" + " ".join(sorted(message.flags)).encode("latin-1") + b")"


def _nliteral(value: bytes | None, window: slice = slice(None)) -> bytes:
    return b"NIL" if value is None else literal(value[window])


def compile_section(section: bytes) -> Callable[[Message], bytes | None]:
    """A function from a message to the bytes of that section, None if there is no such part."""
    match = re.fullmatch(rb"((?:\d{1,4}\.)*\d{1,4})?\.?(.*)", section, re.DOTALL)
    assert match is not None  # both groups may be empty
    numbers = [int(number) for number in match[1].split(b".")] if match[1] else []
    words = parse_arguments(match[2])
    kind = words[0].upper() if words and isinstance(words[0], bytes) else b""

    if kind in (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"):
        if len(words) != 2 or not isinstance(words[1], list):
            raise BadSyntax("HEADER.FIELDS takes a list")
        names = {name.lower() for name in words[1] if isinstance(name, bytes)}
        take = _of_header(lambda header: pick_fields(header, names, kind.endswith(b".NOT")))
    elif kind in (b"HEADER", b"MIME"):
        take = _of_header(lambda header: header)
    elif kind == b"TEXT":
        take = lambda part: part.body  # noqa: E731
    elif not words:
        take = (lambda part: part.body) if numbers else (lambda part: part.header + part.body)
    else:
        raise BadSyntax("unknown section")

    def find(message: Message) -> bytes | None:
        part = Part(message.data).find(numbers)
        return None if part is None else take(part)

    return find


def _of_header(function: Callable[[bytes], bytes]) -> Callable[[Part], bytes]:
    return lambda part: function(part.header)
