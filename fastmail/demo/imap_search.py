"""IMAP SEARCH over the demo's messages (RFC 3501 section 6.4.4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from email.utils import parsedate_to_datetime

from fastmail.demo.imap_syntax import Argument, BadSyntax, in_set, parse_set
from fastmail.demo.mailbox import Message
from fastmail.demo.mime import header_field, split

Test = Callable[[int, Message], bool]
"""Does the message of this sequence number match?"""

_FLAGS = ("ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN")


class Search:
    """A compiled search program; call it with a sequence number and a message. Raises BadSyntax."""

    def __init__(self, arguments: list[Argument], largest_number: int, largest_uid: int) -> None:
        self._rest = list(arguments)
        self._largest_number = largest_number
        self._largest_uid = largest_uid
        if self._rest and _upper(self._rest[0]) == "CHARSET":
            del self._rest[:2]
        if not self._rest:
            raise BadSyntax("SEARCH takes a search key")
        self._tests: list[Test] = []
        while self._rest:
            self._tests.append(self._key())

    def __call__(self, number: int, message: Message) -> bool:
        return all(test(number, message) for test in self._tests)

    def _next(self) -> Argument:
        if not self._rest:
            raise BadSyntax("search key lacks its argument")
        return self._rest.pop(0)

    def _string(self) -> bytes:
        value = self._next()
        if not isinstance(value, bytes):
            raise BadSyntax("search key takes a string")
        return value

    def _key(self) -> Test:
        key = self._next()
        if isinstance(key, list):
            return Search(key, self._largest_number, self._largest_uid)
        if key[:1].isdigit() or key[:1] == b"*":
            numbers = parse_set(key, self._largest_number)
            return lambda number, _: in_set(number, numbers)
        name = key.decode("latin-1").upper()
        return self._flag_key(name) or self._text_key(name) or self._other_key(name)

    def _flag_key(self, name: str) -> Test | None:
        wanted = not name.startswith("UN")
        bare = name.removeprefix("UN")
        if bare in _FLAGS:
            flag = "\\" + bare.capitalize()
        elif bare == "KEYWORD":
            flag = self._string().decode("latin-1")
        else:
            return None
        return lambda _, message: (flag in message.flags) == wanted

    def _text_key(self, name: str) -> Test | None:
        if name in ("BCC", "CC", "FROM", "SUBJECT", "TO", "HEADER"):
            field = self._string() if name == "HEADER" else name.encode()
            text = self._string().lower()

            def in_field(_: int, message: Message) -> bool:
                value = header_field(split(message.data)[0], field)
                return value is not None and text in value.lower()

            return in_field
        if name in ("TEXT", "BODY"):
            wanted = self._string().lower()
            if name == "TEXT":
                return lambda _, message: wanted in message.data.lower()
            return lambda _, message: wanted in split(message.data)[1].lower()
        return None

    def _other_key(self, name: str) -> Test:
        match name:
            case "ALL" | "OLD":
                return lambda _, message: True
            case "NEW" | "RECENT":
                return lambda _, message: False
            case "UID":
                uids = parse_set(self._next(), self._largest_uid)
                return lambda _, message: in_set(message.uid, uids)
            case "NOT":
                inner = self._key()
                return lambda number, message: not inner(number, message)
            case "OR":
                first, second = self._key(), self._key()
                return lambda number, message: first(number, message) or second(number, message)
            case "LARGER" | "SMALLER":
                text = self._string()
                if not text.isdigit():
                    raise BadSyntax("invalid size")
                size = int(text)
                if name == "LARGER":
                    return lambda _, message: len(message.data) > size
                return lambda _, message: len(message.data) < size
            case "BEFORE" | "ON" | "SINCE" | "SENTBEFORE" | "SENTON" | "SENTSINCE":
                return self._date_key(name)
        raise BadSyntax("unknown search key")

    def _date_key(self, name: str) -> Test:
        try:
            day = datetime.strptime(self._string().decode("latin-1"), "%d-%b-%Y").date()
        except ValueError:
            raise BadSyntax("invalid date") from None
        when = _sent if name.startswith("SENT") else _stored
        match name.removeprefix("SENT"):
            case "BEFORE":
                return lambda _, message: when(message) < day
            case "ON":
                return lambda _, message: when(message) == day
        return lambda _, message: when(message) >= day


def _upper(argument: Argument) -> str:
    return argument.decode("latin-1").upper() if isinstance(argument, bytes) else ""


def _stored(message: Message) -> date:
    return message.date.date()


def _sent(message: Message) -> date:
    value = header_field(split(message.data)[0], b"Date")
    try:
        return parsedate_to_datetime((value or b"").decode("latin-1")).date()
    except ValueError:
        return _stored(message)
