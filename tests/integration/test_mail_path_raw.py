"""What no mail client would send: raw bytes through the proxy reach Postfix as they do without a proxy."""

import base64
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.dovecot import PASSWORD
from support.mailhouse import SENDER, MailHouse, without_trace
from support.ports import HOST
from support.postfix import DOMAIN

HEAD = b"From: sender@example.com\r\nSubject: raw\r\n\r\n"

NEXT_MESSAGE = b"MAIL FROM:<smuggler@example.com>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: in\r\n\r\nit is\r\n"
"""What an attacker hopes to get executed behind a false end of data."""

FALSE_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
    b"\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\r\n",
]  # fmt: skip

ODD_BODIES = {
    "bare LF": b"one\ntwo\nthree\r\n",
    "bare CR": b"one\rtwo\r\rthree\r\n",
    "CR CR LF": b"one\r\r\ntwo\r\n",
    "NUL": b"a\0b\r\n\0\r\n\0\0\0\r\n",
    "LF dot": b"one\n..two\n...\r\n",
    "long lines": b"x" * 998 + b"\r\n" + b"\xff" * 998 + b"\r\n",
    "lines longer than SMTP allows": b"y" * 5000 + b"\r\n" + b"z" * 100_000 + b"\r\n",
    "8-bit": bytes(range(128, 256)) * 40 + b"\r\n",
    "stuffed dots": b"..\r\n...\r\n..a\r\n",
    "unstuffed dots": b".a\r\n.b c\r\n. \r\n",
}


@pytest.fixture(scope="module")
def house(proxy_kind: str) -> Iterator[MailHouse]:
    with MailHouse(proxy_kind) as house:
        yield house


def exchange(port: int, data: bytes) -> bytes:
    """Send everything in one go and return all that is answered until the server closes."""
    with closing(socket.create_connection((HOST, port), 30)) as client:
        client.sendall(data)
        answers = b""
        while received := client.recv(65536):
            answers += received
        return answers


def auth(user: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{PASSWORD}".encode()) + b"\r\n"


def transaction(user: str, data: bytes) -> bytes:
    """One message; ``data`` is what is sent between DATA and the final dot."""
    head = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{user}@{DOMAIN}>\r\nDATA\r\n".encode()
    return head + data + b".\r\n"


def session(login: bytes, *transactions: bytes) -> bytes:
    return b"EHLO client.example\r\n" + login + b"".join(transactions) + b"QUIT\r\n"


def codes(answers: bytes) -> list[bytes]:
    """The code of each reply, the last line of a multi-line reply standing for it."""
    return [line[:3] for line in answers.split(b"\r\n") if line[3:4] == b" "]


def after_login(answers: bytes) -> bytes:
    """Postfix's answers behind the login, without queue identifiers."""
    tail = answers[answers.index(b"\r\n235 ") + 2 :]
    return b"\r\n".join(line.partition(b" queued as ")[0] for line in tail.split(b"\r\n")[1:])


def bodies(house: MailHouse, user: str, count: int) -> list[bytes]:
    """What lies in the inbox, without the trace headers."""
    return sorted(map(without_trace, house.delivered(user, count)))


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES)
def test_odd_bodies_arrive_as_without_a_proxy(house: MailHouse, body: bytes) -> None:
    behind, direct = house.user(), house.user()
    proxied = exchange(house.smtp["auth"], session(auth(behind), transaction(behind, HEAD + body)))
    straight = exchange(house.postfix.submission, session(auth(direct), transaction(direct, HEAD + body)))
    assert after_login(proxied) == after_login(straight)
    assert bodies(house, behind, 1) == bodies(house, direct, 1)


@pytest.mark.parametrize("end", FALSE_ENDS, ids=repr)
def test_a5_false_ends_of_data_are_left_to_postfix(house: MailHouse, end: bytes) -> None:
    """Whatever Postfix makes of it, one message or two, the proxy makes neither more nor fewer of it."""

    def attack(user: str) -> bytes:
        smuggled = NEXT_MESSAGE % f"{user}@{DOMAIN}".encode()
        return session(auth(user), transaction(user, HEAD + b"bait" + end + smuggled))

    behind, direct = house.user(), house.user()
    proxied = exchange(house.smtp["auth"], attack(behind))
    straight = exchange(house.postfix.submission, attack(direct))
    answers = after_login(straight)
    assert after_login(proxied) == answers
    count = answers.count(b"250 2.0.0 Ok")
    assert count >= 1

    def unnamed(user: str) -> list[bytes]:
        return [text.replace(user.encode(), b"USER") for text in bodies(house, user, count)]

    assert unnamed(behind) == unnamed(direct)


@pytest.mark.parametrize("size", [0, 100, 4096, 50_000])
@pytest.mark.parametrize("name", ["xclient", "xclient and auth", "auth"])
def test_login_and_messages_in_one_packet(house: MailHouse, name: str, size: int) -> None:
    user = house.user()
    texts = [HEAD + b"%d\r\n" % number + b"a line\r\n" * (size // 8) for number in (1, 2)]
    messages = [transaction(user, text) for text in texts]
    answers = exchange(house.smtp[name], session(auth(user), *messages))
    sent = [b"250", b"250", b"354", b"250"]
    assert codes(answers) == [b"220", b"250", b"235", *sent, *sent, b"221"]
    assert bodies(house, user, 2) == [text.replace(b"\r\n", b"\n") for text in texts]


@pytest.mark.parametrize("name", ["none", "none, xclient"])
def test_mail_without_login_in_one_packet(house: MailHouse, name: str) -> None:
    user = house.user()
    text = HEAD + b"a line\r\n" * 3000
    answers = exchange(house.smtp[name], session(b"", transaction(user, text)))
    assert codes(answers) == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert bodies(house, user, 1) == [text.replace(b"\r\n", b"\n")]


def test_pop3_login_and_retr_in_one_packet(house: MailHouse) -> None:
    user = house.user()
    text = HEAD + b"..\r\n" + b"long\r\n" * 5000
    exchange(house.smtp["auth"], session(auth(user), transaction(user, text)))
    house.delivered(user)
    commands = f"CAPA\r\nUSER {user}\r\nPASS {PASSWORD}\r\nSTAT\r\nRETR 1\r\nLIST\r\nQUIT\r\n".encode()
    answers = exchange(house.pop3, commands)
    start = answers.index(HEAD)
    assert answers[start : answers.index(b".\r\n+OK", start)] == text
    assert answers.endswith(b"\r\n.\r\n+OK Logging out.\r\n")
