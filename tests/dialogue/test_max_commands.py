"""max_commands (freenginx, Angie): every complete command counts, whatever its answer."""

# ruff: noqa: E501  (tables of what is said on the wire)

import pytest

from dialogue.exchange import Talk, check_talk, every_way, server, whole
from fastmail._speedups import Dialogue

TOO_MANY = "info: client sent too many commands"
OVER = {
    "imap": "c BAD invalid command",
    "pop3": "-ERR invalid command",
    "smtp": "500 5.5.1 Invalid command",
}
TALKS = [
    Talk("imap noop", [("a NOOP", "a OK completed"), ("b NOOP", "b OK completed"), ("c NOOP", OVER["imap"])],
         "close", [TOO_MANY]),
    Talk("imap sasl responses", [("a AUTHENTICATE LOGIN", "+ VXNlcm5hbWU6"), ("dXNlcg==", "+ UGFzc3dvcmQ6"),
                                 ("cGFzcw==", "a BAD invalid command")], "close", [TOO_MANY]),
    Talk("imap literals are one command", [("a LOGIN {4}", "+ OK"), ("user {4}", "+ OK"), ("pass", b"")], "auth"),
    Talk("imap errors have a count of their own",
         [("a FOO", "a BAD invalid command"), ("b NOOP", "b OK completed"), ("c FOO", OVER["imap"]),
          ("d NOOP", "d OK completed"), ("e NOOP", "e BAD invalid command")], "close", [TOO_MANY]),
    Talk("imap the last one may log in", [("a NOOP", "a OK completed"), ("b LOGIN u p", b"")], "auth"),
    Talk("pop3", [("NOOP", "+OK"), ("USER u", "+OK"), ("PASS p", OVER["pop3"])], "close", [TOO_MANY], protocol="pop3"),
    Talk("smtp", [("RSET", "250 2.0.0 OK"), ("NOOP", "250 2.0.0 OK"), ("NOOP", OVER["smtp"])], "close", [TOO_MANY],
         protocol="smtp"),
]  # fmt: skip


@pytest.mark.directive("max_commands")
@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk.name)
def test_one_command_too_many(talk: Talk) -> None:
    talk.options["max_commands"] = 2
    every_way(whole(talk.says), lambda pieces: check_talk(talk, pieces))


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a25_a_flood_ends_after_a_thousand(protocol: str) -> None:
    noop = b"a NOOP\r\n" if protocol == "imap" else b"NOOP\r\n"
    replies, wanted = Dialogue(server(protocol)).feed(noop * 100_000)
    assert wanted == "close"
    assert replies.count(b"\r\n") == 1001 + (protocol != "pop3")
