"""The tables of what clients say, entry by entry, whole, byte by byte and cut at random."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue import table_imap, table_pop3, table_smtp
from dialogue.exchange import SALT, Talk, check_steps, check_talk, cuts, every_way, server, whole
from fastmail._speedups import Dialogue

TABLES = {"imap": table_imap.TABLES, "pop3": table_pop3.TABLES, "smtp": table_smtp.TABLES}
TALKS = [
    pytest.param(talk, id=f"{protocol}-{table}-{talk.name}")
    for protocol, tables in TABLES.items()
    for table, talks in tables.items()
    for talk in talks
]


@pytest.mark.parametrize("talk", TALKS)
def test_step_by_step(talk: Talk) -> None:
    check_steps(talk)


@pytest.mark.parametrize("talk", TALKS)
def test_in_any_pieces(talk: Talk) -> None:
    every_way(whole(talk.says), lambda pieces: check_talk(talk, pieces))


@given(data=st.data())
def test_cut_at_random(data: st.DataObject) -> None:
    talk = data.draw(st.sampled_from([param.values[0] for param in TALKS]))
    assert isinstance(talk, Talk)
    check_talk(talk, data.draw(cuts(whole(talk.says))))


@pytest.mark.parametrize(
    ("protocol", "auth", "greeting"),
    [
        ("imap", ("plain", "cram-md5"), b"* OK IMAP4 ready\r\n"),
        ("pop3", ("plain", "external"), b"+OK POP3 ready\r\n"),
        ("pop3", ("apop",), b"+OK POP3 ready " + SALT + b"\r\n"),
        ("pop3", ("cram-md5",), b"+OK POP3 ready " + SALT + b"\r\n"),
        ("smtp", ("cram-md5",), b"220 mail.example.com ESMTP ready\r\n"),
    ],
)
def test_greeting(protocol: str, auth: tuple[str, ...], greeting: bytes) -> None:
    assert Dialogue(server(protocol, auth=auth), salt=SALT).greeting() == greeting


def test_each_session_has_a_salt_of_its_own() -> None:
    greetings = [Dialogue(server("pop3", auth=("apop",))).greeting() for _ in range(2)]
    for greeting in greetings:
        assert re.fullmatch(rb"\+OK POP3 ready <\d{1,10}\.\d{10}@mail\.example\.com>\r\n", greeting)
    assert greetings[0] != greetings[1]
