"""What holds whatever a peer sends: bounded memory, complete replies, the same result in any pieces."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.exchange import (
    SALT,
    Outcome,
    answer,
    cut,
    cuts,
    http_escaped,
    play,
    server,
    single_bytes,
)  # fmt: skip
from fastmail._speedups import Dialogue

MECHANISMS = {
    "imap": ("plain", "cram-md5", "external"),
    "pop3": ("plain", "apop", "cram-md5", "external"),
    "smtp": ("plain", "cram-md5", "external", "none"),
}
PROTOCOLS = tuple(MECHANISMS)
WORDS = (
    "a", "LOGIN", "AUTHENTICATE", "NOOP", "CAPABILITY", "LOGOUT", "PLAIN", "CRAM-MD5", "EXTERNAL",
    "USER", "PASS", "APOP", "AUTH", "CAPA", "QUIT", "EHLO", "HELO", "MAIL FROM:<a>", "RCPT TO:<b>", "RSET",
    "VRFY", "FOO", "AHVzZXIAcGFzcw==", "*", "dXNlcg==", " ", " ", " ", "  ", '"', "\\", "{3}", "{3+}", "{0}",
    "{", "}", "\r", "\n", "\r\n", "\r\n", "\r\n", "\0", "\xff",
)  # fmt: skip
BYTES = st.lists(st.sampled_from(WORDS), max_size=40).map("".join).map(
    lambda text: text.encode("latin-1")
) | st.binary(max_size=200)
ANSWERS = st.sampled_from(
    [answer("no", "Auth-Wait: 1"), answer("WAIT"), answer("no"), answer(), b"\xff\r\n\r\n"]
)


def session(protocol: str, pieces: Sequence[bytes], answers: Sequence[bytes], **options: Any) -> Outcome:
    dialogue = Dialogue(server(protocol, auth=MECHANISMS[protocol], **options), salt=SALT)
    return play(dialogue, pieces, answers)


def comparable(outcome: Outcome) -> Outcome:
    """Without what a session that is over has not looked at any more."""
    if outcome.ending not in ("auth", "proxy", "read"):
        outcome.leftover = b""
    return outcome


@given(data=st.data(), protocol=st.sampled_from(PROTOCOLS), said=BYTES, answers=st.lists(ANSWERS, max_size=3))
def test_the_pieces_do_not_matter(
    data: st.DataObject, protocol: str, said: bytes, answers: list[bytes]
) -> None:
    expected = comparable(session(protocol, [said], answers))
    assert comparable(session(protocol, single_bytes(said) or [b""], answers)) == expected
    assert comparable(session(protocol, data.draw(cuts(said)), answers)) == expected


@given(protocol=st.sampled_from(PROTOCOLS), pieces=st.lists(BYTES, max_size=6), size=st.integers(1, 64))
def test_input_is_bounded_and_replies_are_complete(protocol: str, pieces: list[bytes], size: int) -> None:
    dialogue = Dialogue(server(protocol, auth=MECHANISMS[protocol], client_buffer=size, max_errors=1000))
    for piece in pieces:
        replies, wanted = dialogue.feed(piece)
        assert replies == b"" or replies.endswith(b"\r\n")
        assert b"\n" not in replies.replace(b"\r\n", b"")
        if wanted != "read":
            break
        assert len(dialogue.leftover) <= size


@given(
    protocol=st.sampled_from(PROTOCOLS),
    pieces=st.lists(BYTES, min_size=1, max_size=6),
    header=BYTES | ANSWERS,
)
def test_nothing_breaks_when_driven_on(protocol: str, pieces: list[bytes], header: bytes) -> None:
    """Whatever it asks for, a dialogue can be fed, answered and resumed at any time."""
    dialogue = Dialogue(server(protocol, auth=MECHANISMS[protocol]))
    for piece in pieces:
        assert dialogue.feed(piece)[1] in ("read", "auth", "close")
        assert dialogue.auth_request().endswith(b"\r\n\r\n")
        assert dialogue.auth_answer(header)[0] in ("proxy", "rejected", "again", "error")
        assert dialogue.resume()[1] in ("read", "auth", "close")


@given(protocol=st.sampled_from(PROTOCOLS), pieces=st.lists(BYTES, max_size=6), size=st.integers(1, 64))
def test_backends_may_say_anything(protocol: str, pieces: list[bytes], size: int) -> None:
    upstream = logged_in(protocol, proxy_buffer=size).upstream()
    for piece in pieces:
        orders, ending = upstream.feed(piece)
        assert orders == b"" or orders.endswith(b"\r\n")
        if ending != "read":
            break
    else:
        assert upstream.reply == b""


REPLY_WORDS = (
    "* OK", "a OK", "a NO", "* X", "+ go", "+OK", "-ERR", "220 ", "250 ", "250-", "535 ", "\n", "\r\n",
)  # fmt: skip
REPLIES = st.lists(st.sampled_from(REPLY_WORDS), max_size=20).map(lambda words: "".join(words).encode())


@given(data=st.data(), protocol=st.sampled_from(PROTOCOLS), said=REPLIES, passed_on=st.booleans())
def test_the_pieces_of_a_backend_do_not_matter(
    data: st.DataObject, protocol: str, said: bytes, passed_on: bool
) -> None:
    options = {"proxy_pass_error_message": passed_on}
    expected = backend_session(protocol, [said], options)
    assert backend_session(protocol, single_bytes(said) or [b""], options) == expected
    assert backend_session(protocol, data.draw(cuts(said)), options) == expected


def logged_in(protocol: str, **options: Any) -> Dialogue:
    """A dialogue that the auth server has accepted."""
    said = {
        "imap": b"a LOGIN us\0er pass\r\n",
        "pop3": b"USER user\r\nPASS pass\r\n",
        "smtp": b"EHLO c\r\nMAIL a\r\nRCPT b\r\n",
    }
    dialogue = Dialogue(server(protocol, auth=MECHANISMS[protocol], **options))
    assert play(dialogue, [said[protocol]], [answer()]).ending == "proxy"
    return dialogue


def backend_session(
    protocol: str, pieces: list[bytes], options: dict[str, Any]
) -> tuple[bytes, str, bytes, list[str]]:
    dialogue = logged_in(protocol, **options)
    upstream = dialogue.upstream()
    sent, ending = b"", "read"
    waiting = iter(pieces)
    for piece in waiting:
        orders, ending = upstream.feed(piece)
        sent += orders
        if ending != "read":
            break
    rest = b"".join(waiting) if ending == "accepted" else b""
    return sent, ending, upstream.reply + rest, dialogue.log


# --- pipelining ----------------------------------------------------------------------------------

VALID = {
    "imap": ("a NOOP", "b CAPABILITY", "c STARTTLS", 'd LOGIN "" x', "e NOOP 1 2 3", "f AUTHENTICATE FOO"),
    "pop3": ("NOOP", "CAPA", "USER u", "AUTH", "STLS", "PASS"),
    "smtp": ("NOOP", "EHLO c", "HELO c", "RSET", "MAIL FROM:<a>", "VRFY x", "AUTH FOO"),
}


@given(data=st.data(), protocol=st.sampled_from(PROTOCOLS), size=st.integers(32, 128))
def test_pipelined_commands_are_answered_like_single_ones(
    data: st.DataObject, protocol: str, size: int
) -> None:
    commands = [
        line.encode() + b"\r\n" for line in data.draw(st.lists(st.sampled_from(VALID[protocol]), max_size=30))
    ]
    one_by_one = session(protocol, commands, [], client_buffer=size)
    burst = session(protocol, [b"".join(commands)], [], client_buffer=size)
    assert burst == one_by_one
    assert one_by_one.ending == "read"


# --- what reaches the auth server ----------------------------------------------------------------


@given(user=st.binary(min_size=1, max_size=60), password=st.binary(max_size=60))
def test_no_value_begins_a_header_line(user: bytes, password: bytes) -> None:
    """However the credentials look, the request has the lines of an ordinary one."""
    dialogue = Dialogue(server(auth_http_headers=[(b"X-Key", b"se cret")]))
    said = b"a LOGIN {%d+}\r\n%b {%d+}\r\n%b\r\n" % (len(user), user, len(password), password)
    assert dialogue.feed(said)[1] == "auth"
    assert dialogue.auth_request().split(b"\r\n") == [
        b"GET /auth HTTP/1.0", b"Host: 127.0.0.1", b"Auth-Method: plain", b"Auth-User: " + http_escaped(user),
        b"Auth-Pass: " + http_escaped(password), b"Auth-Protocol: imap", b"Auth-Login-Attempt: 1",
        b"Client-IP: 127.0.0.1", b"X-Key: se cret", b"", b"",
    ]  # fmt: skip


@given(helo=BYTES, sender=BYTES, recipient=BYTES)
def test_no_envelope_begins_a_header_line(helo: bytes, sender: bytes, recipient: bytes) -> None:
    dialogue = Dialogue(server("smtp", auth=("none",), max_errors=1000, client_buffer=65536))
    said = b"EHLO %b\r\nMAIL %b\r\nRCPT %b\r\n" % (helo, sender, recipient)
    if dialogue.feed(said)[1] == "auth":
        lines = dialogue.auth_request().split(b"\r\n")
        assert len(lines) == 14
        assert not any(set(line) & set(b"\r\n") for line in lines)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_flood_of_commands_is_answered_in_full(protocol: str) -> None:
    count = 20_000
    line = b"a NOOP\r\n" if protocol == "imap" else b"NOOP\r\n"
    one = session(protocol, [line], []).replies
    pieces = cut(line * count, range(0, len(line) * count, 7919))
    assert session(protocol, pieces, [], max_commands=count).replies == one * count
