"""Attacks that mail proxies have suffered; the numbers in the names are those of docs/security.md."""

import base64
import re
from typing import Any

import pytest
from support.engine import Rig, descriptors, until

from fastmail._speedups import Dialogue, Server

RETRY = b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\nAuth-Wait: 1\r\n\r\n"
ACCEPT = b"HTTP/1.0 200 OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: 143\r\n"


def dialogue(protocol: str, **options: Any) -> Dialogue:
    settings: dict[str, Any] = {
        "protocol": protocol,
        "server_name": b"mail.test",
        "auth_http": (2, ("127.0.0.1", 80)),
        "auth_http_host": b"auth.test",
        "auth_http_uri": b"/",
        "auth": {
            "imap": ("plain", "cram-md5", "external"),
            "pop3": ("plain", "apop", "cram-md5", "external"),
        }.get(protocol, ("plain", "login", "cram-md5", "external")),
    }
    made = Dialogue(Server(**(settings | options)))
    made.greeting()
    return made


def header(request: bytes, name: str) -> bytes:
    found = re.search(rb"\r\n" + name.encode() + rb": ([^\r]*)\r\n", request)
    assert found, request
    return found[1]


def plain(user: bytes, password: bytes) -> bytes:
    return base64.b64encode(b"\0" + user + b"\0" + password)


@pytest.mark.parametrize("user", [b"us er+=\xe9%", b"a NAME=evil", b"a\r\nQUIT", b"x" * 300])
def test_a9_login_in_xclient_is_xtext(user: bytes) -> None:
    smtp = dialogue("smtp")
    smtp.feed(b"EHLO c\r\nAUTH PLAIN " + plain(user, b"p") + b"\r\n")
    assert smtp.auth_answer(ACCEPT + b"\r\n")[0] == "proxy"
    backend = smtp.upstream()
    backend.feed(b"220 hi\r\n")
    line, _ = backend.feed(b"250 ok\r\n")
    word = re.fullmatch(rb"XCLIENT ADDR=127\.0\.0\.1 LOGIN=([^ \r\n]*) NAME=\[UNAVAILABLE\]\r\n", line)
    assert word
    assert re.sub(rb"\+([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), word[1]) == user


def test_a10_no_credentials_with_mail_that_needs_none() -> None:
    """CVE-2025-53859: what an earlier attempt left, complete or not, is not sent with it."""
    for before in (
        b"AUTH PLAIN " + plain(b"user", b"secret"),
        b"AUTH LOGIN dXNlcg==\r\n!",
        b"AUTH PLAIN AA==",
    ):
        smtp = dialogue("smtp", auth=("plain", "login", "none"))
        smtp.feed(before + b"\r\n")
        smtp.auth_answer(RETRY)
        smtp.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
        request = smtp.auth_request()
        assert header(request, "Auth-Method") == b"none"
        assert header(request, "Auth-User") == b""
        assert header(request, "Auth-Pass") == b""


MECHANISMS = {
    "imap": [b"LOGIN u p", b"AUTHENTICATE PLAIN AHUAcA==", b"AUTHENTICATE EXTERNAL dQ=="],
    "pop3": [b"APOP u 0123456789abcdef0123456789abcdef", b"AUTH PLAIN AHUAcA==", b"AUTH EXTERNAL dQ=="],
    "smtp": [b"AUTH PLAIN AHUAcA==", b"AUTH EXTERNAL dQ=="],
}


def attempts(protocol: str) -> list[list[bytes]]:
    """Each mechanism, as the lines a client sends one after the other."""
    tag, verb = (b"a ", b"AUTHENTICATE") if protocol == "imap" else (b"", b"AUTH")
    digest = base64.b64encode(b"u 0123456789abcdef0123456789abcdef")
    return [[tag + line] for line in MECHANISMS[protocol]] + [[tag + verb + b" CRAM-MD5", digest]]


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a11_every_mechanism_can_be_tried_again(protocol: str) -> None:
    """CVE-2026-27651: each mechanism after each, refused with a pause between."""
    for first in attempts(protocol):
        for second in attempts(protocol):
            client = dialogue(protocol)
            for number, lines in enumerate((first, second, first), 1):
                wanted = ""
                for line in lines:
                    _, wanted = client.feed(line + b"\r\n")
                assert wanted == "auth"
                assert header(client.auth_request(), "Auth-Login-Attempt") == b"%d" % number
                assert client.auth_answer(RETRY)[0] == "rejected"
                client.resume()


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a12_no_password_of_an_earlier_attempt(protocol: str) -> None:
    tag = b"a AUTHENTICATE" if protocol == "imap" else b"AUTH"
    client = dialogue(protocol)
    client.feed(tag + b" PLAIN " + plain(b"user", b"secret") + b"\r\n")
    client.auth_answer(RETRY)
    assert client.feed(tag + b" EXTERNAL dXNlcg==\r\n")[1] == "auth"
    assert header(client.auth_request(), "Auth-Pass") == b""
    assert client.credentials == ("external", b"user", b"")


@pytest.mark.parametrize("said", [b"EXTERNAL", b"EXTERNAL dQ==", b"CRAM-MD5", b"CRAM-MD5 dQ=="])
@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a13_mechanism_that_is_not_offered(protocol: str, said: bytes) -> None:
    client = dialogue(protocol, auth=("plain",))
    tag = b"a AUTHENTICATE " if protocol == "imap" else b"AUTH "
    reply, wanted = client.feed(tag + said + b"\r\n")
    assert wanted == "read"
    assert reply.endswith((b" Unsupported authentication mechanism\r\n", b"nvalid command\r\n"))


@pytest.mark.parametrize("size", [2**32, 2**32 + 1, 2**59, 2**63, 2**64 - 1, 2**64, 2**64 + 4, 10**40])
@pytest.mark.parametrize("plus", [b"", b"+"])
def test_a14_literal_of_any_size(size: int, plus: bytes) -> None:
    """No number is taken for a smaller one: nothing behind it is a command, and the buffer does not grow."""
    client = dialogue("imap")
    reply, wanted = client.feed(b"a LOGIN {%d%b}\r\n" % (size, plus))
    if wanted == "read" and b"BAD" not in reply:
        reply, wanted = client.feed(b"x" * 5000 + b"\r\nb LOGOUT\r\n")
        assert wanted == "close"
    assert b"b OK" not in reply


@pytest.mark.parametrize(
    "flood", [b"(" * 100_000, b"a LOGIN " + b"(" * 100_000, b'a LOGIN "' + b"\\" * 100_000]
)
def test_a15_endless_command(flood: bytes) -> None:
    """CVE-2026-27857: it ends at imap_client_buffer."""
    client = dialogue("imap")
    _, wanted = client.feed(flood)
    assert wanted == "close"
    assert len(client.leftover) <= len(flood)
    assert any("too long command" in line for line in client.log)


def test_a16_bad_base64_disturbs_nobody() -> None:
    with Rig(protocol="smtp") as rig:
        waiting, auth = rig.ask(b"AUTH PLAIN " + plain(b"u", b"p") + b"\r\n")
        for _ in range(50):
            bad = rig.client()
            bad.send(b"AUTH PLAIN !!!!\r\n")
            assert bad.line() == b"500 5.5.1 Invalid command\r\n"
        other, other_auth = rig.ask(b"AUTH PLAIN " + plain(b"v", b"p") + b"\r\n")
        for client, server in ((other, other_auth), (waiting, auth)):
            server.send(b"Auth-Status: no\r\n\r\n")
            assert client.rest() == b"535 5.7.0 no\r\n421 4.7.0 mail.test closing connection\r\n"


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a17_sasl_broken_off_anywhere(protocol: str) -> None:
    """Nothing stays behind, whether the exchange or the question to the auth server is broken off."""
    tag = b"a AUTHENTICATE" if protocol == "imap" else b"AUTH"
    with Rig(protocol=protocol) as rig:
        rig.client().close()
        rig.quiet()
        before = descriptors()
        for number in range(300):
            client = rig.client()
            client.send(tag + (b" PLAIN\r\n" if number % 3 else b" PLAIN " + plain(b"u", b"p") + b"\r\n"))
            if number % 3:
                client.line()
                client.send(b"*\r\n" if number % 3 == 1 else b"AHUA")
            client.close(reset=number % 2 == 0)
        rig.auth.socket.setblocking(False)
        while True:
            try:
                rig.auth.socket.accept()[0].close()
            except BlockingIOError:
                break
        rig.quiet()
        until(lambda: len(descriptors()) <= len(before))


@pytest.mark.parametrize("user", [b"caf\xe9", b"\xc3", b"\xff\xfe", b"\xed\xa0\x80", bytes(range(128, 256))])
@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a19_bytes_that_are_no_text(protocol: str, user: bytes) -> None:
    """CVE-2020-7046, CVE-2019-10691: they arrive as they are, everywhere."""
    tag = b"a AUTHENTICATE" if protocol == "imap" else b"AUTH"
    client = dialogue(protocol)
    assert client.feed(tag + b" PLAIN " + plain(user, user) + b"\r\n")[1] == "auth"
    request = client.auth_request()
    assert header(request, "Auth-User") == header(request, "Auth-Pass") == user
    told = client.auth_answer(b"HTTP/1.0 200 OK\r\nAuth-Status: no " + user + b"\r\n\r\n")[1]
    assert told.partition(b"\r\n")[0].endswith(b"no " + user)


def test_a26_early_talker() -> None:
    with Rig(protocol="smtp", smtp_greeting_delay=60_000) as rig:
        client = rig.connect()
        client.send(b"EHLO x\r\n")
        assert client.rest() == b"503 5.5.0 Improper use of SMTP command pipelining\r\n"


@pytest.mark.parametrize("size", range(60, 70))
def test_a27_commands_over_the_buffers_edge(size: int) -> None:
    """A burst longer than the buffer, however its commands lie in it, is answered in full."""
    for protocol, line, reply in (
        ("imap", b"a NOOP\r\n", b"a OK completed\r\n"),
        ("pop3", b"NOOP\r\n", b"+OK\r\n"),
        ("smtp", b"NOOP\r\n", b"250 2.0.0 OK\r\n"),
    ):
        client = dialogue(protocol, client_buffer=size)
        assert client.feed(line * 100) == (reply * 100, "read")


def test_a28_ten_thousand_commands_at_once() -> None:
    client = dialogue("imap", max_commands=100_000)
    reply, wanted = client.feed(b"a NOOP\r\n" * 10_000)
    assert (len(reply), wanted) == (16 * 10_000, "read")


def test_a29_tag_of_another_line() -> None:
    client = dialogue("imap")
    assert client.feed(b"foo NOOP\r\n")[0] == b"foo OK completed\r\n"
    assert client.feed(b"\r\n")[0] == b"* BAD invalid command\r\n"
    assert client.feed(b"bar\r\n")[0] == b"* BAD invalid command\r\n"


@pytest.mark.parametrize("reset", [True, False])
def test_a30_client_gone_while_it_is_answered(reset: bool) -> None:
    """Errors while sending may end a session from within its own code."""
    with Rig(max_commands=1_000_000) as rig:
        for _ in range(20):
            client = rig.client()
            client.socket.setblocking(False)
            try:
                for _ in range(100):
                    client.socket.send(b"a CAPABILITY\r\n" * 1000)
            except BlockingIOError:
                pass
            client.close(reset=reset)
        rig.quiet()


def test_a31_untagged_lines_before_the_login_reply() -> None:
    client = dialogue("imap")
    client.feed(b"a LOGIN u p\r\n")
    client.auth_answer(ACCEPT + b"\r\n")
    backend = client.upstream()
    backend.feed(b"* OK hi\r\n")
    said = b"* CAPABILITY IMAP4rev1 X\r\n* OK [ALERT] news\r\na OK in\r\n"
    assert backend.feed(said)[1] == "accepted"
    assert backend.reply == said


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_a32_backends_get_one_command_at_a_time(protocol: str) -> None:
    """Exchange 2013 hangs on more. Nothing is sent before the greeting, nor before the last reply."""
    client = dialogue(protocol, **({"proxy_smtp_auth": True} if protocol == "smtp" else {}))
    client.feed(
        {"imap": b"a LOGIN u p\r\n", "pop3": b"USER u\r\nPASS p\r\n"}.get(
            protocol, b"EHLO c\r\nAUTH PLAIN AHUAcA==\r\n"
        )
    )
    client.auth_answer(ACCEPT + b"\r\n")
    backend = client.upstream()
    replies = {
        "imap": [b"* OK\r\n"],
        "pop3": [b"+OK\r\n", b"+OK\r\n"],
        "smtp": [b"220 x\r\n", b"250 x\r\n", b"220 x\r\n", b"250 x\r\n"],
    }[protocol]
    for reply in replies:
        sent, wanted = backend.feed(reply)
        assert (sent.count(b"\r\n"), wanted) == (1, "read")


def test_a37_chunks_behind_the_recipient() -> None:
    """BDAT pipelined behind RCPT, with whatever bytes, reaches the backend as it was sent."""
    chunk = b"BDAT 14 LAST\r\n.\r\nQUIT\r\nRSET\r\n"
    with Rig(protocol="smtp", auth=("none",), xclient=False, capabilities=(b"CHUNKING",)) as rig:
        client = rig.client()
        client.send(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" + chunk)
        rig.asked().send(rig.accepting())
        backend = rig.connected()
        backend.send(b"220 x\r\n")
        assert backend.line() == b"EHLO mail.test\r\n"
        for reply, line in ((b"250 x\r\n", b"MAIL FROM:<a@b>\r\n"), (b"250 x\r\n", b"RCPT TO:<c@d>\r\n")):
            backend.send(reply)
            assert backend.line() == line
        backend.send(b"250 x\r\n")
        assert backend.read(len(chunk)) == chunk
