"""A message as IMAP describes it: header fields, ENVELOPE, BODYSTRUCTURE, sections (RFC 3501 section 7.4.2).

Works on the stored bytes, so that sizes and sections are exact.
"""

from __future__ import annotations

import re
from email.message import Message as Fields
from email.utils import getaddresses

from fastmail.demo.imap_syntax import quote

_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)", re.MULTILINE)


def split(data: bytes) -> tuple[bytes, bytes]:
    """Header with its closing empty line, and body."""
    if data.startswith(b"\r\n"):
        return data[:2], data[2:]
    end = data.find(b"\r\n\r\n")
    return (data, b"") if end < 0 else (data[: end + 4], data[end + 4 :])


def header_field(header: bytes, name: bytes) -> bytes | None:
    """The unfolded value of the first field of that name."""
    for match in _FIELD.finditer(header):
        if match[1].lower() == name.lower():
            return re.sub(rb"\r?\n", b"", match[2]).strip()
    return None


def pick_fields(header: bytes, names: set[bytes], invert: bool = False) -> bytes:
    """The fields of these (lower-case) names, or all others, with a closing empty line."""
    kept = [m[0] + b"\r\n" for m in _FIELD.finditer(header) if (m[1].lower() in names) != invert]
    return b"".join(kept) + b"\r\n"


class Part:
    """A message, or one part of one: its header, its body, and the parts in it."""

    def __init__(self, data: bytes) -> None:
        self.header, self.body = split(data)
        self._fields = Fields()
        for name in ("Content-Type", "Content-Disposition"):
            value = header_field(self.header, name.encode())
            if value is not None:
                self._fields[name] = value.decode("latin-1")
        self.type, self.subtype = self._fields.get_content_type().upper().split("/", 1)
        self.parts = self._children()

    def _children(self) -> list[Part]:
        boundary = self._fields.get_boundary()
        if self.type != "MULTIPART" or boundary is None:
            return []
        delimiter = rb"(?:\A|\r\n)--" + re.escape(boundary.encode("latin-1"))
        text = re.split(delimiter + rb"--", self.body, maxsplit=1)[0]
        return [Part(piece) for piece in re.split(delimiter + rb"[ \t]*\r\n", text)[1:]]

    def find(self, numbers: list[int]) -> Part | None:
        """The part of that number, as in ``2.1``; part 1 of a message that is not multipart is itself."""
        if not numbers:
            return self
        first, rest = numbers[0], numbers[1:]
        if self.parts:
            return self.parts[first - 1].find(rest) if 0 < first <= len(self.parts) else None
        return self if first == 1 and not rest else None

    def structure(self, extended: bool) -> bytes:
        """BODYSTRUCTURE, or BODY, which lacks the extension data."""
        if self.parts:
            inner = b"".join(part.structure(extended) for part in self.parts)
            extension = b" " + self._parameters("Content-Type") + b" NIL NIL NIL" if extended else b""
            return b"(" + inner + b" " + quote(self.subtype.encode()) + extension + b")"
        fields = [
            quote(self.type.encode()),
            quote(self.subtype.encode()),
            self._parameters("Content-Type"),
            quote(header_field(self.header, b"Content-ID")),
            quote(header_field(self.header, b"Content-Description")),
            quote(header_field(self.header, b"Content-Transfer-Encoding") or b"7BIT"),
            b"%d" % len(self.body),
        ]
        if (self.type, self.subtype) == ("MESSAGE", "RFC822"):
            inner_message = Part(self.body)
            fields += [envelope(inner_message.header), inner_message.structure(extended)]
        if self.type == "TEXT" or (self.type, self.subtype) == ("MESSAGE", "RFC822"):
            fields.append(b"%d" % self.body.count(b"\n"))
        if extended:
            fields += [b"NIL", self._disposition(), b"NIL", b"NIL"]
        return b"(" + b" ".join(fields) + b")"

    def _parameters(self, field: str) -> bytes:
        parameters = self._fields.get_params(failobj=[], header=field)[1:]
        words = [quote(_text(word).encode("latin-1", "replace")) for pair in parameters for word in pair]
        return b"(" + b" ".join(words) + b")" if words else b"NIL"

    def _disposition(self) -> bytes:
        kind = self._fields.get_content_disposition()
        if kind is None:
            return b"NIL"
        return b"(" + quote(kind.encode("latin-1")) + b" " + self._parameters("Content-Disposition") + b")"


def _text(value: str | tuple[str | None, str | None, str]) -> str:
    """A parameter's value, or the text of one in RFC 2231's encoding."""
    return value if isinstance(value, str) else value[2]


def envelope(header: bytes) -> bytes:
    """ENVELOPE; Sender and Reply-To default to From."""

    def addresses(*names: bytes) -> bytes:
        for name in names:
            value = header_field(header, name)
            if value:
                return _addresses(value)
        return b"NIL"

    items = [
        quote(header_field(header, b"Date")),
        quote(header_field(header, b"Subject")),
        addresses(b"From"),
        addresses(b"Sender", b"From"),
        addresses(b"Reply-To", b"From"),
        addresses(b"To"),
        addresses(b"Cc"),
        addresses(b"Bcc"),
        quote(header_field(header, b"In-Reply-To")),
        quote(header_field(header, b"Message-ID")),
    ]
    return b"(" + b" ".join(items) + b")"


def _addresses(value: bytes) -> bytes:
    out = b""
    for name, address in getaddresses([value.decode("latin-1")]):
        mailbox, _, host = address.rpartition("@")
        words = [name or None, None, mailbox or None, host or None]
        out += b"(" + b" ".join(quote(w.encode("latin-1") if w else None) for w in words) + b")"
    return b"(" + out + b")" if out else b"NIL"
