"""The tables of what backends say, entry by entry, whole, byte by byte and cut at random."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue import table_backend_imap, table_backend_pop3, table_backend_smtp
from dialogue.exchange import (
    Login,
    answer,
    check_login,
    check_login_steps,
    cuts,
    every_way,
    imap_strings,
    play,
    server,
    single_bytes,
    whole,
)  # fmt: skip
from fastmail._speedups import Dialogue, quote_imap

TABLES = {
    "imap": table_backend_imap.TABLES,
    "pop3": table_backend_pop3.TABLES,
    "smtp": table_backend_smtp.TABLES,
}
CASES = [
    pytest.param(case, id=f"{protocol}-{table}-{case.name}")
    for protocol, tables in TABLES.items()
    for table, cases in tables.items()
    for case in cases
]
VALUES = st.binary(max_size=40) | st.text(alphabet='a"\\ {}+', max_size=20).map(str.encode)


@pytest.mark.parametrize("case", CASES)
def test_step_by_step(case: Login) -> None:
    check_login_steps(case)


@pytest.mark.parametrize("case", CASES)
def test_in_any_pieces(case: Login) -> None:
    every_way(whole(case.says), lambda pieces: check_login(case, pieces))


@given(data=st.data())
def test_cut_at_random(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([param.values[0] for param in CASES]))
    assert isinstance(case, Login)
    check_login(case, data.draw(cuts(whole(case.says))))


def imap_login(client: list[bytes], header: bytes = b"") -> bytes:
    """What an IMAP backend is sent for this client."""
    dialogue = Dialogue(server())
    assert play(dialogue, client, [header or answer()]).ending == "proxy"
    upstream = dialogue.upstream()
    sent, _ = upstream.feed(b"* OK hi\r\n")
    for _ in range(2 if sent.endswith(b"}\r\n") else 0):
        more, ending = upstream.feed(b"+ go\r\n")
        sent += more
        assert ending == "read"
    assert upstream.feed(b"a OK in\r\n") == (b"", "accepted")
    return sent


@given(user=VALUES.filter(len), password=VALUES)
def test_literals_arrive_as_they_are(user: bytes, password: bytes) -> None:
    """Any bytes at all: from the client's literals through the credentials to the backend."""
    said = b"a LOGIN {%d+}\r\n%s {%d+}\r\n%s\r\n" % (len(user), user, len(password), password)
    dialogue = Dialogue(server())
    assert dialogue.feed(said) == (b"", "auth")
    assert dialogue.credentials == ("plain", user, password)
    assert list(imap_strings(imap_login([said]))) == [b"a", b"LOGIN", user, password]


@given(user=VALUES.filter(lambda value: b"\0" not in value), password=VALUES)
def test_sasl_values_arrive_as_they_are(user: bytes, password: bytes) -> None:
    said = b"a AUTHENTICATE PLAIN %s\r\n" % b64encode(b"\0%b\0%b" % (user, password))
    assert list(imap_strings(imap_login(single_bytes(said)))) == [b"a", b"LOGIN", user, password]


@given(value=VALUES)
def test_quoted_values_are_taken_and_sent_alike(value: bytes) -> None:
    quoted = quote_imap(value)
    if quoted is None:
        return
    said = b"a LOGIN user " + quoted + b"\r\n"
    assert list(imap_strings(imap_login([said]))) == [b"a", b"LOGIN", b"user", value]


@given(value=st.binary(max_size=40).filter(lambda value: not set(value) & set(b"\r\n")))
def test_the_auth_servers_values_arrive_as_they_are(value: bytes) -> None:
    header = b"Auth-Server: 192.0.2.7\r\nAuth-Port: 143\r\nAuth-Pass: " + value + b"\r\n\r\n"
    assert list(imap_strings(imap_login([b"a LOGIN user pass\r\n"], header)))[3] == value.strip(b" ")
