"""Sessions over real sockets: from the greeting through the login to the relay, and every way it can fail."""

import socket
import threading
import time
from pathlib import Path

import pytest
from support.engine import BYE, INTERNAL, TIMEOUT, Rig, let_in, suffix, until

LOGIN = b"a LOGIN user pass\r\n"
REJECTED = b"HTTP/1.0 200 OK\r\nAuth-Status: no way\r\n\r\n"
ASKING = " while in http auth state"
TIMED_OUT = "timed out (110: Connection timed out)"


def test_imap() -> None:
    with Rig() as rig:
        client = rig.connect()
        assert client.line() == b"* OK IMAP4 ready\r\n"
        client.send(LOGIN)
        auth = rig.asked()
        assert auth.silent()
        auth.send(rig.accepting())
        assert auth.rest() == b""  # closed as soon as the header has been read
        backend = rig.connected()
        backend.send(b"* OK hi\r\n")
        assert backend.line() == b'a LOGIN "user" "pass"\r\n'
        backend.send(b"* CAPABILITY X\r\na OK in\r\n")
        assert client.line() + client.line() == b"* CAPABILITY X\r\na OK in\r\n"
        client.send(b"b SELECT x\r\n")
        assert backend.line() == b"b SELECT x\r\n"
        backend.send(b"b OK\r\n")
        backend.close()
        assert client.rest() == b"b OK\r\n"
        rig.quiet()
        rig.all_logged(f"[info] client logged in{suffix()}", f"[info] proxied session done{suffix()}")


def test_pop3() -> None:
    with Rig(protocol="pop3", client_buffer=128) as rig:
        client = rig.connect()
        assert client.line() == b"+OK POP3 ready\r\n"
        client.send(b"USER joe\r\nPASS se\r\nSTAT\r\nLIST\r\n")
        assert client.line() == b"+OK\r\n"
        rig.asked().send(rig.accepting())
        backend = rig.connected()
        for said, told in ((b"+OK hi", b"USER joe"), (b"+OK u", b"PASS se"), (b"+OK in", b"STAT")):
            backend.send(said + b"\r\n")
            assert backend.line() == told + b"\r\n"
        assert backend.line() == b"LIST\r\n"
        assert client.line() == b"+OK in\r\n"


def test_smtp() -> None:
    with Rig(protocol="smtp") as rig:
        client = rig.connect()
        assert client.line() == b"220 mail.test ESMTP ready\r\n"
        client.send(b"EHLO c\r\n")
        assert client.line() + client.line() == b"250-mail.test\r\n250 AUTH PLAIN\r\n"
        client.send(b"AUTH PLAIN\r\n")
        assert client.line() == b"334 \r\n"
        client.send(b"AHVzZXIAcGFzcw==\r\nNOOP\r\n")
        rig.asked().send(rig.accepting())
        backend = rig.connected()
        for said, told in (
            (b"220 hi", b"EHLO mail.test"),
            (b"250 me", b"XCLIENT ADDR=127.0.0.1 LOGIN=user NAME=[UNAVAILABLE]"),
            (b"220 x", b"EHLO c"),
            (b"250 hidden", b"NOOP"),
        ):
            backend.send(said + b"\r\n")
            assert backend.line() == told + b"\r\n"
        assert client.line() == b"235 2.0.0 OK\r\n"


def test_smtp_greeting_delay() -> None:
    with Rig(protocol="smtp", smtp_greeting_delay=50) as rig:
        client = rig.connect()
        assert client.line() == b"220 mail.test ESMTP ready\r\n"
        client.send(b"QUIT\r\n")
        assert client.rest() == b"221 2.0.0 Bye\r\n"


def test_smtp_early_talker() -> None:
    with Rig(protocol="smtp", smtp_greeting_delay=60_000) as rig:
        client = rig.connect()
        client.send(b"EHLO x\r\nMAIL\r\n")
        assert client.rest() == b"503 5.5.0 Improper use of SMTP command pipelining\r\n"
        rig.quiet()
        shown = '"EHLO x__MAIL__" while in delay pipelining state'
        rig.all_logged(f"[info] client was rejected before greeting: {shown}{suffix('', '')}")


def test_smtp_client_that_leaves_before_the_greeting() -> None:
    with Rig(protocol="smtp", smtp_greeting_delay=60_000) as rig:
        for reset in (False, True):
            rig.connect().close(reset=reset)
        until(lambda: rig.stat("accepted") == 2)
        rig.quiet()
        assert rig.stat("timers") == 0


def test_ipv6() -> None:
    with Rig(family=socket.AF_INET6) as rig:
        _, auth = rig.ask()
        assert b"\r\nClient-IP: ::1\r\n" in auth.request
        auth.send(rig.accepting())
        backend = rig.connected()
        backend.send(b"* OK\r\n")
        assert backend.line() == b'a LOGIN "user" "pass"\r\n'


def test_unix_sockets(tmp_path: Path) -> None:
    with Rig(family=socket.AF_UNIX, directory=tmp_path) as rig:
        client, auth = rig.ask()
        assert b"\r\nClient-IP: unix:\r\n" in auth.request
        auth.send(rig.accepting())
        backend = rig.connected()
        let_in(client, backend)
        client.close()
        assert backend.rest() == b""
        rig.logged("[info] proxied session done" + suffix().replace("127.0.0.1", "unix:"))


def test_unix_socket_of_our_own(tmp_path: Path) -> None:
    """A login does not come back to the listener that it has come from."""
    with Rig(family=socket.AF_UNIX, directory=tmp_path) as rig:
        client, auth = rig.ask()
        auth.send(f"Auth-Status: OK\r\nAuth-Server: {rig.listener.printed}\r\n\r\n".encode())
        assert client.rest() == INTERNAL
        end = suffix(upstream=rig.listener.printed).replace("127.0.0.1", "unix:")
        rig.logged(f"[error] upstream is this proxy itself while connecting to upstream{end}")
        assert rig.stat("accepted") == 1


def test_auth_server_on_a_missing_unix_socket() -> None:
    with Rig(auth_http=(socket.AF_UNIX, "/nowhere/auth")) as rig:
        client = rig.client()
        client.send(LOGIN)
        assert client.rest() == INTERNAL
        what = "connect() to unix:/nowhere/auth failed (2: No such file or directory)"
        rig.logged(f"[crit] {what}{ASKING}{suffix(upstream='')}")


def test_rejected() -> None:
    with Rig() as rig:
        client, auth = rig.ask()
        auth.send(REJECTED)
        assert client.rest() == b"a NO no way\r\n" + BYE
        rig.quiet()
        rig.all_logged(f'[info] client login failed: "no way"{ASKING}{suffix(upstream="")}')


def test_a_pause_ends_with_its_client() -> None:
    with Rig() as rig:
        client, auth = rig.ask()
        auth.send(b"Auth-Status: no way\r\nAuth-Wait: 86400\r\n\r\n")
        assert auth.rest() == b""
        client.close(reset=True)
        rig.quiet()
        what = "send() failed (104: Connection reset by peer) while in auth state"
        rig.logged(f"[info] {what}{suffix(upstream='')}")


def test_rejected_with_a_pause() -> None:
    """Input during the pause is read after it; the session goes on."""
    with Rig() as rig:
        client, auth = rig.ask(LOGIN + b"b NOOP\r\n")
        begin = time.monotonic()
        auth.send(b"Auth-Status: no way\r\nAuth-Wait: 1\r\n\r\n")
        client.send(b"c NOOP\r\n")
        assert auth.rest() == b""
        assert client.line() == b"a NO no way\r\n"
        assert time.monotonic() - begin > 0.9, "the reply is held back"
        assert client.line() + client.line() == b"b OK completed\r\nc OK completed\r\n"
        client.send(b"d LOGIN user pass\r\n")
        assert b"Auth-Login-Attempt: 2\r\n" in rig.asked().request


def test_asked_to_ask_again() -> None:
    with Rig() as rig:
        client, first = rig.ask()
        first.send(b"Auth-Status: WAIT\r\nAuth-Wait: 1\r\n\r\n")
        again = rig.asked()
        assert again.request == first.request
        assert client.silent()
        again.send(REJECTED)
        assert client.rest() == b"a NO no way\r\n" + BYE


# --- failures of the auth server -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        (b"", None),
        (b"HTTP/1.0 200 OK\r\nAuth-Sta", None),
        (b"HTTP/1.0 200\rOK\r\n\r\n", "sent invalid response"),
        (b"HTTP/1.0 200 OK\r\nAuth Status: OK\r\n\r\n", 'sent invalid header in response: "Auth"'),
        (b"X: y\r\n z\r\n\r\n", 'sent invalid header in response after "X"'),
        (b"X: y\rz\r\n\r\n", 'sent invalid header in response: "X"'),
        (b"Auth-Pass: se\ncret word\r\n\r\n", 'sent invalid header in response after "Auth-Pass"'),
        (b"\xff\r\n\r\n", "sent invalid header in response"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "did not send server or port"),
        (b"HTTP/1.1 429 Too Many\r\n\r\n", "did not send server or port (HTTP status 429)"),
        (b"HTTP/1.1 502\r\n<html>", "sent invalid header in response (HTTP status 502)"),
        (
            b"HTTP/1.1 500 x\r\nAuth-Server: x\r\nAuth-Port: 1\r\n\r\n",
            'sent invalid server address:"x" (HTTP status 500)',
        ),
        (b"Auth-Server: x\r\nAuth-Port: 1\r\n\r\n", 'sent invalid server address:"x"'),
        (b"Auth-Server: 127.0.0.1\r\nAuth-Port: 0\r\n\r\n", 'sent invalid server port:"0"'),
        (b"X: " + b"x" * 5000 + b"\r\n\r\n", "sent too long header in response"),
    ],
)
def test_useless_answer(answer: bytes, logged: str | None) -> None:
    with Rig() as rig:
        client, auth = rig.ask()
        auth.send(answer)
        auth.shut()
        assert client.rest() == INTERNAL
        rig.quiet()
        expected = [f"[error] auth http server AUTH {logged}{ASKING}{suffix(upstream='')}"] if logged else []
        rig.all_logged(*expected)


def test_auth_server_refuses() -> None:
    with Rig() as rig:
        rig.auth.refuse()
        client = rig.client()
        client.send(LOGIN)
        assert client.rest() == INTERNAL
        rig.logged(f"[error] recv() failed (111: Connection refused){ASKING}{suffix(upstream='')}")


def test_auth_server_resets() -> None:
    with Rig() as rig:
        client, auth = rig.ask()
        auth.close(reset=True)
        assert client.rest() == INTERNAL
        rig.logged(f"[error] recv() failed (104: Connection reset by peer){ASKING}{suffix(upstream='')}")


def test_auth_server_is_silent() -> None:
    with Rig(auth_http_timeout=100) as rig:
        client, auth = rig.ask()
        assert client.rest() == INTERNAL
        assert auth.rest() == b""
        rig.logged(f"[error] auth http server AUTH {TIMED_OUT}{ASKING}{suffix(upstream='')}")


def test_half_an_answer_does_not_extend_the_time() -> None:
    with Rig(auth_http_timeout=100) as rig:
        client, auth = rig.ask()
        auth.send(b"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\n")
        assert client.rest() == INTERNAL
        rig.logged(f"[error] auth http server AUTH {TIMED_OUT}{ASKING}{suffix(upstream='')}")


def test_answer_byte_by_byte() -> None:
    with Rig() as rig:
        client, auth = rig.ask()
        auth.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in rig.accepting():
            auth.send(bytes([byte]))
        rig.connected().send(b"* BYE\r\n")
        assert client.rest() == INTERNAL


def test_answer_with_a_body() -> None:
    with Rig() as rig:
        client, auth = rig.ask()
        auth.send(REJECTED + b"<html>" * 10_000)
        assert client.rest() == b"a NO no way\r\n" + BYE


# --- failures of the backend ---------------------------------------------------------------------

READING = " while reading response from upstream"


def test_backend_refuses() -> None:
    with Rig() as rig:
        rig.backend.refuse()
        client, auth = rig.ask()
        auth.send(rig.accepting())
        assert client.rest() == INTERNAL
        rig.logged(f"[error] recv() failed (111: Connection refused){READING}{suffix()}")


def test_backend_closes() -> None:
    with Rig() as rig:
        client, backend = rig.backend_login()
        backend.close()
        assert client.rest() == INTERNAL
        rig.quiet()
        assert rig.log() == []


def test_backend_resets_after_its_greeting() -> None:
    with Rig() as rig:
        client, backend = rig.backend_login()
        backend.send(b"* OK\r\n")
        backend.line()
        backend.close(reset=True)
        assert client.rest() == INTERNAL
        rig.logged(f"[error] recv() failed (104: Connection reset by peer){READING}{suffix()}")


@pytest.mark.parametrize("pass_on", [False, True])
def test_backend_says_no(pass_on: bool) -> None:
    with Rig(proxy_pass_error_message=pass_on) as rig:
        client, backend = rig.backend_login()
        backend.send(b"* OK\r\n")
        backend.line()
        backend.send(b"a NO [AUTH] bad\r\n")
        assert client.rest() == (b"a NO [AUTH] bad\r\n" + BYE if pass_on else INTERNAL)
        level = "info" if pass_on else "error"
        rig.logged(f'[{level}] upstream sent invalid response: "NO [AUTH] bad"{READING}{suffix()}')


@pytest.mark.parametrize(
    ("greeting", "action"),
    [(b"", "connecting to upstream"), (b"* OK\r\n", "sending LOGIN command to upstream")],
)
def test_backend_is_silent(greeting: bytes, action: str) -> None:
    with Rig(timeout=TIMEOUT) as rig:
        client, backend = rig.backend_login()
        backend.send(greeting)
        assert client.rest() == INTERNAL
        rig.logged(f"[info] upstream {TIMED_OUT} while {action}{suffix()}")


def test_backend_that_cannot_be_reached() -> None:
    with Rig() as rig:
        client, auth = rig.ask()
        auth.send(b"Auth-Server: unix:/nowhere/imap\r\n\r\n")
        assert client.rest() == INTERNAL
        what = "connect() to unix:/nowhere/imap failed (2: No such file or directory)"
        rig.logged(f"[crit] {what} while connecting to upstream{suffix(upstream='unix:/nowhere/imap')}")


# --- failures of the client ----------------------------------------------------------------------


def test_client_is_silent() -> None:
    with Rig(timeout=100) as rig:
        client = rig.client()
        assert client.rest() == b"* BYE timeout, closing connection\r\n"
        rig.logged(f"[info] client {TIMED_OUT} while in auth state{suffix('', '')}")


@pytest.mark.directive("timeout")
def test_commands_do_not_extend_the_time() -> None:
    with Rig(timeout=300, max_commands=10**9) as rig:
        client = rig.client()
        answered = 0
        with pytest.raises((EOFError, BrokenPipeError, ConnectionResetError)):
            while answered < 1_000_000:
                client.send(b"a NOOP\r\n")
                client.line()
                answered += 1
        assert answered < 1_000_000
        rig.logged(f"[info] client {TIMED_OUT} while in auth state{suffix('', '')}")


def test_client_that_shuts_its_side_is_answered_first() -> None:
    with Rig() as rig:
        client = rig.client()
        client.send(b"a NOOP\r\nb NOOP\r\n")
        client.shut()
        assert client.rest() == b"a OK completed\r\nb OK completed\r\n"
        rig.quiet()
        assert rig.log() == []


def test_client_resets() -> None:
    with Rig() as rig:
        rig.client().close(reset=True)
        rig.logged(
            f"[info] recv() failed (104: Connection reset by peer) while in auth state{suffix('', '')}"
        )
        rig.quiet()


def test_client_that_leaves_during_the_login_is_logged_in_all_the_same() -> None:
    """What it has pipelined still reaches the backend (reference 7.1)."""
    with Rig() as rig:
        client, backend = rig.backend_login(LOGIN + b"b SELECT x\r\n")
        client.send(b"c APPEND\r\n")
        client.close()
        backend.send(b"* OK\r\n")
        assert backend.line() == b'a LOGIN "user" "pass"\r\n'
        backend.send(b"a OK in\r\n")
        assert backend.rest() == b"b SELECT x\r\nc APPEND\r\n"
        rig.quiet()


def test_client_that_reads_nothing_is_dropped() -> None:
    """Replies that do not fit wait, commands that pile up are not read, and the timeout ends it."""
    with Rig(max_commands=10**9, timeout=300) as rig:
        client = rig.connect()
        client.socket.settimeout(0.05)
        with pytest.raises((TimeoutError, ConnectionError)):
            while True:
                client.send(b"a CAPABILITY\r\n" * 10_000)
        rig.quiet()
        until(lambda: any("client timed out" in line for line in rig.log()))


def test_a_burst_of_commands_from_a_client_that_reads_late() -> None:
    with Rig(max_commands=10**9) as rig:
        client = rig.connect()
        count = 500_000
        burst = b"".join(b"%d NOOP\r\n" % number for number in range(count)) + b"z LOGOUT\r\n"
        feeder = threading.Thread(target=client.send, args=(burst,))
        feeder.start()
        until(lambda: client.stuck() or not feeder.is_alive())
        expected = b"".join(b"%d OK completed\r\n" % number for number in range(count))
        assert client.rest() == b"* OK IMAP4 ready\r\n" + expected + b"* BYE\r\nz OK completed\r\n"
        feeder.join()


def test_byte_by_byte() -> None:
    with Rig() as rig:
        client = rig.client()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"a LOGIN {4}\r\n":
            client.send(bytes([byte]))
        assert client.line() == b"+ OK\r\n"
        for byte in b'user "pa ss"\r\n':
            client.send(bytes([byte]))
        assert b"\r\nAuth-User: user\r\nAuth-Pass: pa%20ss\r\n" in rig.asked().request
