"""Plays a table to a dialogue in any pieces, and keeps everything that comes of it.

A dialogue must not notice how the network cut what it was sent. So each table is played four ways
(pieces()): entry by entry, whole, byte by byte, and cut at random; every way must give the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from hypothesis import strategies as st

from fastmail._speedups import Dialogue, Server, Upstream

SALT = b"<1896.697170952@mail.example.com>"

Line = bytes | str
"""What is said: a str is lines, to which the last CR LF is added; bytes are taken as they are."""

Ending = Literal["read", "auth", "close", "rejected", "proxy", "error"]


def wire(said: Line) -> bytes:
    """The bytes of a table's entry; lines in one str are parted by LF."""
    return said if isinstance(said, bytes) else said.replace("\n", "\r\n").encode("latin-1") + b"\r\n"


def server(protocol: str = "imap", **options: Any) -> Server:
    """A Server as the tables presume it."""
    settings: dict[str, Any] = {
        "protocol": protocol,
        "server_name": b"mail.example.com",
        "auth_http": (2, ("127.0.0.1", 8080)),
        "auth_http_host": b"127.0.0.1",
        "auth_http_uri": b"/auth",
    }
    return Server(**(settings | options))


def request(login: str, password: str, *lines: str, method: str = "plain", attempt: int = 1,
            protocol: str = "imap") -> bytes:  # fmt: skip
    """The auth request (reference 6.1) of a client without TLS; ``lines`` stand behind Client-IP.

    Login and password as they stand in the request, escaped.
    """
    salt = [f"Auth-Salt: {SALT.decode()}"] if method in ("apop", "cram-md5") else []
    head = [
        "GET /auth HTTP/1.0", "Host: 127.0.0.1", f"Auth-Method: {method}", f"Auth-User: {login}",
        f"Auth-Pass: {password}", *salt, f"Auth-Protocol: {protocol}", f"Auth-Login-Attempt: {attempt}",
        "Client-IP: 127.0.0.1", *lines,
    ]  # fmt: skip
    return "\r\n".join([*head, "", ""]).encode("latin-1")


def answer(
    status: str | None = "OK", *lines: str, address: str | None = "192.0.2.7", port: str | None = "143"
) -> bytes:
    """An answer of the auth server; a header whose value is None is left out."""
    head = ["HTTP/1.0 200 OK"]
    head += [f"Auth-Status: {status}"] * (status is not None)
    head += [f"Auth-Server: {address}"] * (address is not None)
    head += [f"Auth-Port: {port}"] * (port is not None)
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


GOODBYE = {"imap": "* BYE", "smtp": "421 4.7.0 mail.example.com"}
"""How a session's last line begins where we close it; POP3 has none."""
REASONS = {
    "info: client sent too many invalid commands": "too many invalid commands, closing connection",
    "info: client sent too long command": "command too long, closing connection",
    "info: client sent too many commands": "too many commands, closing connection",
}
"""What it says, by the beginning of what is logged; a refusal's is short."""


def goodbye(protocol: str, reason: str) -> bytes:
    """What follows the last reply, in the same write."""
    return wire(f"{GOODBYE[protocol]} {reason}") if protocol in GOODBYE else b""


# --- a client ------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of a session. ``replies`` do not include the greeting."""

    replies: bytes = b""
    ending: str = "read"
    detail: bytes = b""
    waits: list[int] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    credentials: tuple[str, bytes, bytes] = ("", b"", b"")
    leftover: bytes = b""


@dataclass(frozen=True)
class Talk:
    """A client's session: pairs of what it says and what it is told, up to ``ending``.

    ``auth`` are the auth server's answers, in order: without one, the session ends with "auth".
    """

    name: str
    says: Sequence[tuple[Line, Line]]
    ending: Ending = "read"
    log: Sequence[str] = ()
    auth: Sequence[bytes] = ()
    requests: Sequence[bytes] | None = None
    credentials: tuple[str, bytes, bytes] | None = None
    leftover: bytes = b""
    waits: Sequence[int] = ()
    options: dict[str, Any] = field(default_factory=dict)
    protocol: str = "imap"

    def expected(self) -> bytes:
        return b"".join(wire(told) for _, told in self.says) + self.goodbye()

    def goodbye(self) -> bytes:
        if self.ending == "rejected":
            if wire(self.says[-1][1]).startswith(b"421"):
                return b""  # the auth server's code has said so
            return goodbye(self.protocol, "closing connection")
        logged = self.log[-1] if self.ending == "close" and self.log else ""
        reason = next((said for began, said in REASONS.items() if logged.startswith(began)), None)
        return b"" if reason is None else goodbye(self.protocol, reason)

    def server(self) -> Server:
        return server(self.protocol, **self.options)


def play(dialogue: Dialogue, pieces: Iterable[bytes], auth: Iterable[bytes] = ()) -> Outcome:
    """Feed the pieces until the session ends; what is left of them counts as left over."""
    outcome = Outcome()
    answers = iter(auth)
    waiting = iter(pieces)
    for piece in waiting:
        replies, outcome.ending = dialogue.feed(piece)
        outcome.replies += replies
        while outcome.ending == "auth" and (header := next(answers, None)) is not None:
            _answer(dialogue, header, outcome)
        if outcome.ending != "read":
            break
    outcome.log = dialogue.log
    outcome.credentials = dialogue.credentials
    if outcome.ending == "auth":
        outcome.requests.append(dialogue.auth_request())
    if outcome.ending in ("auth", "proxy", "read"):
        outcome.leftover = dialogue.leftover + b"".join(waiting)
    return outcome


def _answer(dialogue: Dialogue, header: bytes, outcome: Outcome) -> None:
    outcome.requests.append(dialogue.auth_request())
    result, outcome.detail, wait = dialogue.auth_answer(header)
    if result == "rejected":
        outcome.replies += outcome.detail
    if result == "again":
        outcome.waits.append(wait)
        return
    outcome.ending = result
    if result == "rejected" and wait:
        outcome.waits.append(wait)
        replies, outcome.ending = dialogue.resume()
        outcome.replies += replies


def check_talk(talk: Talk, pieces: Sequence[bytes]) -> None:
    """The session, cut like this, must come out as the table says."""
    outcome = play(Dialogue(talk.server(), salt=SALT), pieces, talk.auth)
    assert outcome.replies == talk.expected()
    assert outcome.ending == talk.ending
    assert outcome.log == list(talk.log)
    assert outcome.waits == list(talk.waits)
    if talk.requests is not None:
        assert outcome.requests == list(talk.requests)
    if talk.credentials is not None:
        assert outcome.credentials == talk.credentials
    if talk.ending in ("auth", "proxy", "read"):
        assert outcome.leftover == talk.leftover


def check_steps(talk: Talk) -> None:
    """Entry by entry: each reply comes right after what it answers, not earlier and not later."""
    dialogue = Dialogue(talk.server(), salt=SALT)
    answers = iter(talk.auth)
    for number, (said, told) in enumerate(talk.says, 1):
        step = play(dialogue, [wire(said)], answers)
        assert step.replies == wire(told) + (talk.goodbye() if number == len(talk.says) else b"")
        assert step.ending in ("read", talk.ending)


# --- a backend -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Login:
    """A login at the backend: pairs of what it says and what it is told, up to ``ending``.

    ``client`` is what the client has said before; ``reply`` is what it gets in the end.
    """

    name: str
    says: Sequence[tuple[Line, Line]]
    ending: Literal["read", "accepted", "rejected"] = "accepted"
    reply: Line = b""
    log: Sequence[str] = ()
    client: Line = "a LOGIN user pass"
    auth: bytes = answer()
    options: dict[str, Any] = field(default_factory=dict)
    protocol: str = "imap"

    def expected(self) -> bytes:
        return b"".join(wire(told) for _, told in self.says)


def login(case: Login) -> tuple[Dialogue, Upstream, int]:
    """A dialogue that the auth server has accepted, its upstream, and how many log entries it has."""
    dialogue = Dialogue(server(case.protocol, **case.options), salt=SALT)
    outcome = play(dialogue, [wire(case.client)], [case.auth])
    assert outcome.ending == "proxy"
    return dialogue, dialogue.upstream(), len(outcome.log)


def check_login(case: Login, pieces: Sequence[bytes]) -> None:
    """The login at the backend, its replies cut like this, must come out as the table says."""
    dialogue, upstream, logged = login(case)
    sent, ending = b"", "read"
    waiting = iter(pieces)
    for piece in waiting:
        orders, ending = upstream.feed(piece)
        sent += orders
        if ending != "read":
            break
    assert sent == case.expected()
    assert ending == case.ending
    assert dialogue.log[logged:] == list(case.log)
    if ending == "accepted":  # what the backend says after that is relayed
        assert upstream.reply + b"".join(waiting) == wire(case.reply)
    elif ending == "rejected":
        passed = b"nternal server error" not in wire(case.reply)
        last = wire(case.reply).splitlines()[-1].upper()
        told = passed and not last.startswith((b"* BYE", b"421"))
        end = goodbye(case.protocol, "closing connection") if told else b""
        assert upstream.reply == wire(case.reply) + end


def check_login_steps(case: Login) -> None:
    """Entry by entry: each order goes out right after the reply that allows it."""
    _, upstream, _ = login(case)
    for said, told in case.says:
        assert upstream.feed(wire(said))[0] == wire(told)


# --- cuts ----------------------------------------------------------------------------------------


def whole(says: Sequence[tuple[Line, Line]]) -> bytes:
    """All that the peer says."""
    return b"".join(wire(said) for said, _ in says)


def single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """Parted before each of the offsets."""
    edges = [0, *sorted(set(at)), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def cuts(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The data in random pieces, empty ones among them."""
    return st.lists(st.integers(0, len(data)), max_size=12).map(lambda at: cut(data, at))


def every_way(data: bytes, check: Callable[[list[bytes]], None]) -> None:
    """Whole, byte by byte, and each cut into two."""
    check([data])
    check(single_bytes(data))
    if len(data) < 200:
        for at in range(1, len(data)):
            check([data[:at], data[at:]])


# --- reading what was sent -----------------------------------------------------------------------


def imap_strings(line: bytes) -> Iterator[bytes]:
    """The strings of an IMAP command (RFC 3501 section 4): an independent reading of what we send."""
    at = 0
    while at < len(line):
        if line[at : at + 1] == b'"':
            quoted = re.compile(rb'"((?:[^"\\\r\n\0\x80-\xff]|\\["\\])*)"').match(line, at)
            assert quoted, line
            yield re.sub(rb"\\(.)", rb"\1", quoted[1])
            at = quoted.end()
        elif literal := re.compile(rb"\{(\d+)\}\r\n").match(line, at):
            at = literal.end() + int(literal[1])
            assert at <= len(line), line
            yield line[literal.end() : at]
        else:
            atom = re.compile(rb"[^\s\"{(]+").match(line, at)
            assert atom, line
            yield atom[0]
            at = atom.end()
        if line[at:] == b"\r\n":
            return
        assert line[at : at + 1] == b" ", line
        at += 1


def http_escaped(value: bytes) -> bytes:
    """auth_http's escaping, written once more: 0x00-0x20 and % as %HH."""
    return b"".join(b"%%%02X" % byte if byte <= 0x20 or byte == 0x25 else bytes([byte]) for byte in value)
