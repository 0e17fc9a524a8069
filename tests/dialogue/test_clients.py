"""The tables of what clients say, entry by entry, whole, byte by byte and cut at random."""

import pytest
from dialogue import table_imap
from dialogue.exchange import Talk, check_steps, check_talk, cuts, every_way, server, whole
from hypothesis import given
from hypothesis import strategies as st

from fastmail._speedups import Dialogue

TABLES = {"imap": table_imap.TABLES}
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


def test_greeting() -> None:
    assert Dialogue(server("imap")).greeting() == b"* OK IMAP4 ready\r\n"
