"""What a hostile client, backend or auth server tries. Names of attack cases stand in the tests' names."""

import base64

import pytest
from support.engine import BYE, HeldRig, Rig, until

SECRET = b"correct horse battery staple"


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("imap", b"a FOO {28}\r\n" + SECRET),
        ("imap", b"tag-that-is-much-longer-than-a-tag-may-be LOGIN user {28}\r\n" + SECRET),
        ("imap", b"a AUTHENTICATE NTLM\r\n" + base64.b64encode(SECRET)),
        ("pop3", b"AUTH NTLM\r\n" + base64.b64encode(SECRET)),
        ("pop3", SECRET),
        ("smtp", b"AUTH LOGIN !\r\n" + base64.b64encode(SECRET)),
    ],
)
def test_a40_no_password_in_the_log_that_is_sent_in_vain(protocol: str, said: bytes) -> None:
    """A client that did not wait for the refusal: its literal or response is read as a command."""
    with Rig(protocol=protocol, client_buffer=64, max_errors=9) as rig:
        client = rig.client()
        client.send(said + b"x" * 64)
        client.rest()
        until(lambda: bool(rig.log()))
        assert not any(word in line for line in rig.log() for word in ("correct", "Y29ycmVjdC"))


@pytest.mark.parametrize("said", [b"AUTH PLAIN ", b"EHLO x\r\n auth plain ", b"EHLO x\r\n\xffAUTH LOGIN\r\n"])
def test_a40_no_password_in_the_log_of_an_early_talker(said: bytes) -> None:
    with Rig(protocol="smtp", smtp_greeting_delay=60_000) as rig:
        client = rig.connect()
        client.send(said + base64.b64encode(SECRET) + b"\r\n")
        client.rest()
        until(lambda: bool(rig.log()))
        assert len(rig.log()) == 1
        assert "Y29ycmVjdC" not in rig.log()[0]


def test_a40_a_login_writes_no_log_lines() -> None:
    """An outside tool that bans addresses must not be told of one that never came here."""
    user = b'x"\n2026/11/23 00:00:00 [info] 1#0: *1 client login failed: "no", client: 192.0.2.1'
    with Rig() as rig:
        _, auth = rig.ask(b"a LOGIN {%d+}\r\n%b\0\x7f secret\r\n" % (len(user) + 2, user))
        auth.send(b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\n\r\n")
        until(lambda: bool(rig.log()))
        assert len(rig.log()) == 1
        assert r'login: "x"\x0A2026' in rig.log()[0]
        assert rig.log()[0].endswith(r'192.0.2.1\x00\x7F"')


@pytest.mark.parametrize("headers", ["", "Auth-User: a\0b", "Auth-Pass: a\0b"])
def test_a8_no_nul_in_the_backend_login(headers: str) -> None:
    """It would divide PLAIN's message anew: part of a login would be taken for the password."""
    user = b"user" if headers else b"victim\0word"
    said = b"AUTH LOGIN\r\n" + base64.b64encode(user) + b"\r\n" + base64.b64encode(b"pass") + b"\r\n"
    with Rig(protocol="smtp", proxy_smtp_auth=True, xclient=False) as rig:
        _, auth = rig.ask(said)
        auth.send(rig.accepting(headers))
        backend = rig.connected()
        backend.send(b"220 hi\r\n")
        assert backend.line() == b"HELO mail.test\r\n"
        backend.send(b"250 hi\r\n")
        assert backend.rest() == b""
        until(lambda: "login or password contains NUL and cannot be sent" in "".join(rig.log()))


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nContent-Length: 0",
        b"Connection: close\r\nConnection: keep-alive\r\nContent-Length: 0",
        b"Content-Length: 5\r\nContent-Length: 0",
    ],
)
def test_a36_an_answer_that_contradicts_itself_ends_its_connection(headers: bytes) -> None:
    """What comes behind it must not be taken for the answer to another login."""
    with Rig(auth_http_keepalive=2) as rig:
        _, auth = rig.ask()
        auth.send(b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\n" + headers + b"\r\n\r\n")
        assert auth.rest() == b""


@pytest.mark.parametrize("others", [0, 600], ids=["one batch", "more than a batch"])
def test_a18_a_second_answer_is_not_another_logins(others: int) -> None:
    """The auth server answers twice; the engine meets the next login before it has read the second. If others
    say something as well, that is not even in the same batch of events."""
    with HeldRig(auth_http_keepalive=2, engine={"worker_connections": 2000}) as rig:
        first, auth = rig.ask()
        auth.send(b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\n\r\n")
        assert first.rest() == b"a NO no\r\n" + BYE
        second = rig.client()
        crowd = [rig.client() for _ in range(others)]
        with rig.held():
            second.send(b"a LOGIN user wrong\r\n")
            for other in crowd:
                other.send(b"a NOOP\r\n")
            auth.send(rig.accepting("Content-Length: 0", "Auth-Pass: x", head="HTTP/1.1 200 OK"))
        fresh = rig.asked()
        fresh.send(b"HTTP/1.1 200 OK\r\nAuth-Status: wrong\r\nContent-Length: 0\r\n\r\n")
        assert second.rest() == b"a NO wrong\r\n" + BYE
        assert not rig.backend.waiting()
