"""IMAP backend of the demo (RFC 3501; IDLE, NAMESPACE, ID, UIDPLUS, MOVE, LITERAL+, SPECIAL-USE)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from fastmail.demo.backend import read_line
from fastmail.demo.imap_fetch import Fetch, format_flags
from fastmail.demo.imap_search import Search
from fastmail.demo.imap_syntax import (
    Argument,
    BadSyntax,
    in_set,
    parse_arguments,
    parse_set,
    quote,
    read_command,
)
from fastmail.demo.mailbox import DELETED, Folder, Message, Store

CAPABILITIES = b"IMAP4rev1 LITERAL+ ID IDLE NAMESPACE UIDPLUS MOVE SPECIAL-USE"

_BEFORE_LOGIN = {"CAPABILITY", "ID", "LOGIN", "LOGOUT", "NOOP"}
_SELECTED = {"CHECK", "CLOSE", "COPY", "EXPUNGE", "FETCH", "MOVE", "SEARCH", "STORE", "UNSELECT"}
_TAKES_UID = {"COPY", "EXPUNGE", "FETCH", "MOVE", "SEARCH", "STORE"}
_KEEPS_NUMBERS = {"FETCH", "SEARCH", "STORE"}  # no EXPUNGE may be sent during these (section 7.4.1)


class Refused(Exception):
    """Answered with NO and this text."""


class ImapSession:
    """One IMAP session. ``_view`` is what the client knows: message N is ``_view[N - 1]``."""

    def __init__(self, store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._logged_in = False
        self._folder: Folder | None = None
        self._read_only = False
        self._view: list[Message] = []
        self._changed = asyncio.Event()
        self._by_uid = False

    async def run(self) -> None:
        self._say(b"OK [CAPABILITY %s] demo IMAP server ready" % CAPABILITIES)
        try:
            name = ""
            while name != "LOGOUT":
                await self._writer.drain()
                name = await self._command(await read_command(self._reader, self._writer))
        finally:
            self._leave()

    def _say(self, text: bytes) -> None:
        self._writer.write(b"* " + text + b"\r\n")

    async def _command(self, line: bytes) -> str:
        """Carry one command out and answer it; returns its name."""
        match = re.match(rb"([^\s(){%*\"\\]+) +(?:(UID) +)?([A-Z]+) *", line, re.IGNORECASE)
        if match is None:
            self._say(b"BAD expected a tag and a command")
            return ""
        tag, uid, name = match[1], match[2], match[3].decode().upper()
        self._by_uid = uid is not None
        try:
            text = await self._dispatch(name, parse_arguments(line[match.end() :]))
            reply = b"OK " + (text or name.encode() + b" completed")
        except Refused as error:
            reply = f"NO {error}".encode()
        except BadSyntax as error:
            reply = f"BAD {error}".encode()
        if name not in _KEEPS_NUMBERS or self._by_uid:
            self._tell_changes()
        self._writer.write(tag + b" " + reply + b"\r\n")
        return name

    async def _dispatch(self, name: str, arguments: list[Argument]) -> bytes | None:
        function = getattr(self, "_do_" + name.lower(), None)
        if function is None or (self._by_uid and name not in _TAKES_UID):
            raise BadSyntax("unknown command")
        if not self._logged_in and name not in _BEFORE_LOGIN:
            raise BadSyntax("log in first")
        if self._folder is None and name in _SELECTED:
            raise BadSyntax("select a mailbox first")
        if name == "IDLE":
            return await self._do_idle(arguments)
        text: bytes | None = function(arguments)
        return text

    # In any state

    def _do_capability(self, _: list[Argument]) -> None:
        self._say(b"CAPABILITY " + CAPABILITIES)

    def _do_noop(self, _: list[Argument]) -> None:
        pass

    _do_check = _do_noop

    def _do_id(self, _: list[Argument]) -> None:
        self._say(b'ID ("name" "fastmail demo")')

    def _do_logout(self, _: list[Argument]) -> None:
        self._leave()
        self._say(b"BYE see you")

    def _do_login(self, arguments: list[Argument]) -> bytes:
        login, password = _strings(arguments, 2)
        if not self._store.accepts(login, password):
            raise Refused("[AUTHENTICATIONFAILED] wrong user name or password")
        self._logged_in = True
        return b"[CAPABILITY %s] logged in" % CAPABILITIES

    # Logged in

    def _do_namespace(self, _: list[Argument]) -> None:
        self._say(b'NAMESPACE (("" "/")) NIL NIL')

    def _do_list(self, arguments: list[Argument], answer: bytes = b"LIST") -> None:
        # LIST may be followed by what LIST-EXTENDED adds; the last plain string is the pattern.
        reference, pattern = _strings([word for word in arguments if isinstance(word, bytes)][:2], 2)
        if not pattern:
            self._say(answer + b' (\\Noselect) "/" ""')
            return
        expression = re.escape(reference + pattern).replace(rb"\*", b".*").replace(b"%", b"[^/]*")
        for folder in self._store.folders.values():
            if re.fullmatch(expression, folder.name.encode(), re.IGNORECASE):
                attributes = ("\\HasNoChildren " + folder.attributes).strip().encode()
                self._say(answer + b' (%s) "/" %s' % (attributes, quote(folder.name.encode())))

    def _do_lsub(self, arguments: list[Argument]) -> None:
        self._do_list(arguments, b"LSUB")

    def _do_subscribe(self, arguments: list[Argument]) -> None:
        self._find(arguments[:1])

    _do_unsubscribe = _do_subscribe

    def _do_create(self, arguments: list[Argument]) -> None:
        (name,) = _strings(arguments[:1], 1)
        text = _folder_name(name).rstrip("/")
        if self._store.find(text) is not None:
            raise Refused("[ALREADYEXISTS] there is a mailbox of that name")
        self._store.create(text)

    def _do_delete(self, arguments: list[Argument]) -> None:
        folder = self._find(arguments)
        if folder is self._store.inbox:
            raise Refused("INBOX stays")
        folder.remove(folder.messages)
        del self._store.folders[folder.name]

    def _do_status(self, arguments: list[Argument]) -> None:
        if len(arguments) != 2 or not isinstance(arguments[1], list):
            raise BadSyntax("STATUS takes a mailbox and a list")
        folder = self._find(arguments[:1])
        values = {
            b"MESSAGES": len(folder.messages),
            b"RECENT": 0,
            b"UIDNEXT": folder.uid_next,
            b"UIDVALIDITY": folder.uid_validity,
            b"UNSEEN": sum("\\Seen" not in message.flags for message in folder.messages),
        }
        names = [name.upper() for name in arguments[1] if isinstance(name, bytes)]
        items = b" ".join(b"%s %d" % (name, values[name]) for name in names if name in values)
        self._say(b"STATUS %s (%s)" % (quote(folder.name.encode()), items))

    def _do_append(self, arguments: list[Argument]) -> bytes:
        folder = self._find(arguments[:1])
        flags: set[str] = set()
        date = None
        for argument in arguments[1:-1]:
            if isinstance(argument, list):
                flags = _flags(argument)
            else:
                date = _date(argument)
        data = arguments[-1]
        if len(arguments) < 2 or not isinstance(data, bytes):
            raise BadSyntax("APPEND takes a mailbox and a message")
        message = folder.add(data, flags, date)
        return b"[APPENDUID %d %d] APPEND completed" % (folder.uid_validity, message.uid)

    def _do_select(self, arguments: list[Argument], read_only: bool = False) -> bytes:
        self._leave()
        folder = self._folder = self._find(arguments[:1])
        folder.watchers.add(self._changed)
        self._read_only = read_only
        self._view = list(folder.messages)
        self._changed.clear()
        self._say(b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)")
        self._say(b"OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] flags")
        self._say(b"%d EXISTS" % len(self._view))
        self._say(b"0 RECENT")
        self._say(b"OK [UIDVALIDITY %d] UIDs" % folder.uid_validity)
        self._say(b"OK [UIDNEXT %d] next UID" % folder.uid_next)
        return b"[READ-ONLY] EXAMINE completed" if read_only else b"[READ-WRITE] SELECT completed"

    def _do_examine(self, arguments: list[Argument]) -> bytes:
        return self._do_select(arguments, read_only=True)

    async def _do_idle(self, _: list[Argument]) -> bytes:
        self._writer.write(b"+ idling\r\n")
        done = asyncio.ensure_future(read_line(self._reader))
        try:
            while not done.done():
                self._tell_changes()
                await self._writer.drain()
                change = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait((done, change), return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
        finally:
            done.cancel()
        if done.result().upper() != b"DONE":
            raise BadSyntax("expected DONE")
        return b"IDLE completed"

    # With a mailbox selected

    def _do_fetch(self, arguments: list[Argument]) -> None:
        if len(arguments) < 2:
            raise BadSyntax("FETCH takes a message set and items")
        fetch = Fetch(arguments[1], self._by_uid)
        fetch.marks_seen &= not self._read_only
        for number, message in self._pick(arguments[0]):
            self._say(b"%d FETCH " % number + fetch(message))

    def _do_store(self, arguments: list[Argument]) -> None:
        if len(arguments) < 3 or not isinstance(arguments[1], bytes):
            raise BadSyntax("STORE takes a message set, an item and flags")
        self._writable()
        how, _, silent = arguments[1].upper().partition(b".")
        values = arguments[2] if isinstance(arguments[2], list) else arguments[2:]
        flags = _flags(values)
        for number, message in self._pick(arguments[0]):
            match how:
                case b"+FLAGS":
                    message.flags |= flags
                case b"-FLAGS":
                    message.flags -= flags
                case b"FLAGS":
                    message.flags = set(flags)
                case _:
                    raise BadSyntax("unknown STORE item")
            if silent != b"SILENT":
                uid = b"UID %d " % message.uid if self._by_uid else b""
                self._say(b"%d FETCH (%sFLAGS %s)" % (number, uid, format_flags(message)))

    def _do_search(self, arguments: list[Argument]) -> None:
        largest_uid = self._view[-1].uid if self._view else 0
        search = Search(arguments, len(self._view), largest_uid)
        found = [
            message.uid if self._by_uid else number
            for number, message in enumerate(self._view, 1)
            if search(number, message)
        ]
        self._say(b" ".join([b"SEARCH", *(b"%d" % number for number in found)]))

    def _do_copy(self, arguments: list[Argument]) -> bytes:
        return b"[%s] COPY completed" % self._copy(arguments)[1]

    def _do_move(self, arguments: list[Argument]) -> None:
        self._writable()
        messages, uids = self._copy(arguments)
        self._say(b"OK [%s] copied" % uids)
        assert self._folder is not None
        self._folder.remove(messages)

    def _copy(self, arguments: list[Argument]) -> tuple[list[Message], bytes]:
        """Copy messages; returns them and the COPYUID response code (RFC 4315 section 3)."""
        if len(arguments) != 2:
            raise BadSyntax("expected a message set and a mailbox")
        target = self._find(arguments[1:], missing="[TRYCREATE] ")
        messages = [message for _, message in self._pick(arguments[0])]
        if not messages:
            raise Refused("no such message")
        copies = [target.add(message.data, message.flags, message.date) for message in messages]
        old, new = (b",".join(b"%d" % message.uid for message in group) for group in (messages, copies))
        return messages, b"COPYUID %d %s %s" % (target.uid_validity, old, new)

    def _do_expunge(self, arguments: list[Argument]) -> None:
        self._writable()
        chosen = [message for _, message in self._pick(arguments[0])] if self._by_uid else self._view
        assert self._folder is not None
        self._folder.remove([message for message in chosen if DELETED in message.flags])

    def _do_close(self, _: list[Argument]) -> None:
        if not self._read_only and self._folder is not None:
            self._folder.remove([message for message in self._view if DELETED in message.flags])
        self._leave()

    def _do_unselect(self, _: list[Argument]) -> None:
        self._leave()

    # Helpers

    def _leave(self) -> None:
        """Back to no mailbox selected."""
        if self._folder is not None:
            self._folder.watchers.discard(self._changed)
        self._folder = None
        self._view = []

    def _writable(self) -> None:
        if self._read_only:
            raise Refused("[READ-ONLY] the mailbox is open for reading")

    def _find(self, arguments: list[Argument], missing: str = "[NONEXISTENT] ") -> Folder:
        (name,) = _strings(arguments, 1)
        folder = self._store.find(_folder_name(name))
        if folder is None:
            raise Refused(missing + "no such mailbox")
        return folder

    def _pick(self, which: Argument) -> list[tuple[int, Message]]:
        """(sequence number, message) of a set of numbers, or of UIDs in a UID command."""
        last = len(self._view)
        if self._by_uid and self._view:
            last = self._view[-1].uid
        ranges = parse_set(which, last)
        return [
            (number, message)
            for number, message in enumerate(self._view, 1)
            if in_set(message.uid if self._by_uid else number, ranges)
        ]

    def _tell_changes(self) -> None:
        """Bring the client's view up to date: EXPUNGE for what has gone, EXISTS for what has come."""
        self._changed.clear()
        if self._folder is None or self._view == self._folder.messages:
            return
        present = set(map(id, self._folder.messages))
        for number in range(len(self._view), 0, -1):
            if id(self._view[number - 1]) not in present:
                self._say(b"%d EXPUNGE" % number)
        known = len([message for message in self._view if id(message) in present])
        self._view = list(self._folder.messages)
        if len(self._view) > known:
            self._say(b"%d EXISTS" % len(self._view))


def _strings(arguments: Sequence[Argument], count: int) -> list[bytes]:
    strings = [argument for argument in arguments if isinstance(argument, bytes)]
    if len(arguments) != count or len(strings) != count:
        raise BadSyntax("invalid arguments")
    return strings


def _folder_name(name: bytes) -> str:
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise BadSyntax("mailbox names are ASCII (modified UTF-7)") from None


def _flags(values: list[Argument]) -> set[str]:
    """Flags in one spelling: system flags are not case-sensitive."""
    names = [value.decode("latin-1") for value in values if isinstance(value, bytes)]
    return {"\\" + name[1:].capitalize() if name[:1] == "\\" else name for name in names} - {"\\Recent"}


def _date(value: bytes) -> datetime:
    try:
        return datetime.strptime(value.decode("latin-1").strip(), "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)
    except ValueError:
        raise BadSyntax("invalid date") from None
