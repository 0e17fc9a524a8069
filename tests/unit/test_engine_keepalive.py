"""Connections to the auth server: kept, used again, lost, and never trusted too far (auth_http_keepalive)."""

import socket
import time

import pytest
from support.engine import BYE, INTERNAL, TIMEOUT, Peer, Rig, suffix, until

LOGIN = b"a LOGIN user pass\r\n"
NO = b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\n\r\n"
REPLY = b"a NO no\r\n" + BYE
UNASKED = "[error] auth http server AUTH sent data that was not asked for: no connection is kept any more"


def rejected(rig: Rig, auth: Peer, client: Peer, answer: bytes = NO) -> None:
    """The auth server answers, the client is told, the session is over."""
    auth.send(answer)
    assert client.rest() == REPLY
    rig.quiet()


def kept(rig: Rig, answer: bytes = NO) -> Peer:
    """An auth connection that has answered once and been kept."""
    client, auth = rig.ask()
    rejected(rig, auth, client, answer)
    assert rig.stat("auth_connections") == 1
    return auth


def ask_again(rig: Rig, auth: Peer) -> Peer:
    """Another client, whose request comes over the same connection."""
    client = rig.client()
    client.send(LOGIN)
    assert b"\r\nAuth-Login-Attempt: 1\r\n" in auth.until(b"\r\n\r\n")
    assert not rig.auth.waiting()
    return client


def test_one_connection_for_many_logins() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        for _ in range(10):
            rejected(rig, auth, ask_again(rig, auth))
        assert rig.stat("auth_connections") == 1
        assert rig.stat("auth_requests") == 11


def test_requests_are_http_1_1() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        _, auth = rig.ask()
        assert auth.request.startswith(b"GET /auth HTTP/1.1\r\nHost: auth.test\r\nAuth-Method: plain\r\n")


def test_an_accepted_login_keeps_it_too() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.send(rig.accepting("Content-Length: 0", head="HTTP/1.1 200 OK"))
        rig.connected().close()
        assert client.rest() == INTERNAL
        rejected(rig, auth, ask_again(rig, auth))


def test_off_means_one_connection_for_each() -> None:
    with Rig(auth_http_keepalive=0) as rig:
        for _ in range(3):
            client, auth = rig.ask()
            auth.send(NO.replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1))
            assert auth.rest() == b""
            assert client.rest() == REPLY


CHUNKED = b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("first", [0, 1, 3, 5])
def test_empty_chunked_bodies_are_read_off(first: int) -> None:
    """In pieces too; the rest comes once the client has been told."""
    body = b"0\r\n\r\n"
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rejected(rig, auth, client, CHUNKED + body[:first])
        for _ in range(2):
            auth.send(body[first:])
            rejected(rig, auth, ask_again(rig, auth), CHUNKED + body[:first])


@pytest.mark.parametrize("body", [b"2\r\nno\r\n0\r\n\r\n", b"00\r\n\r\n", b"0\r\nno: yes\r\n\r\n"])
@pytest.mark.parametrize("later", [False, True])
def test_other_chunked_bodies_end_a_kept_connection(body: bytes, later: bool) -> None:
    """Without a word: the server may send them."""
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.send(CHUNKED + (b"" if later else body))
        assert client.rest() == REPLY
        auth.send(body if later else b"")
        assert auth.rest() == b""
        assert UNASKED not in rig.log()


def test_a18_more_than_an_empty_chunked_body() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.send(rig.accepting("Transfer-Encoding: chunked", head="HTTP/1.1 200 OK") + b"0\r\n\r\n" + NO)
        fresh = rig.asked()
        assert auth.rest() == b""
        rejected(rig, fresh, client)
        assert UNASKED in rig.log()


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_bodies_are_read_off(size: int) -> None:
    with Rig(auth_http_keepalive=2) as rig:
        answer = NO.replace(b"Length: 0", b"Length: %d" % size) + b"A" * size
        auth = kept(rig, answer)
        rejected(rig, auth, ask_again(rig, auth), answer)
        rejected(rig, auth, ask_again(rig, auth))


def test_a_huge_body_is_not_read_off() -> None:
    """A new connection costs less; and the body may have no end."""
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.send(NO.replace(b"Length: 0", b"Length: 1000000"))
        assert auth.rest() == b""
        assert client.rest() == REPLY


def test_a_connection_is_not_used_before_its_body_has_come() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig, NO.replace(b"Length: 0", b"Length: 5") + b"he")
        client, other = rig.ask()  # on a new connection
        auth.send(b"llo")
        other.send(NO.replace(b"Content-Length: 0", b"Connection: close"))
        assert other.rest() == b""
        assert client.rest() == REPLY
        rejected(rig, auth, ask_again(rig, auth))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\n\r\n",
        b"Auth-Status: no\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 5, 5\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 3\r\n\r\nhello",
    ],
)
def test_what_may_not_be_used_again_is_closed(answer: bytes) -> None:
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.send(answer)
        assert auth.rest() == b""
        assert client.rest() == REPLY
        until(lambda: rig.stat("auth_connections") == 0)
        client, auth = rig.ask()
        rejected(rig, auth, client)


def test_http_1_0_may_be_kept_explicitly() -> None:
    answer = b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig, answer)
        rejected(rig, auth, ask_again(rig, auth), answer)


@pytest.mark.directive("auth_http_keepalive")
def test_no_more_are_kept_than_configured() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        asking = [rig.ask() for _ in range(4)]
        for client, auth in asking:
            auth.send(NO)
            assert client.rest() == REPLY
        until(lambda: rig.stat("auth_connections") == 2)
        assert [auth.rest() for _, auth in asking[2:]] == [b"", b""]
        assert all(auth.silent() for _, auth in asking[:2])


def test_the_last_one_used_is_used_next() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        (client, first), (other, second) = rig.ask(), rig.ask()
        for auth, asking in ((second, other), (first, client)):
            auth.send(NO)
            assert asking.rest() == REPLY
        rejected(rig, first, ask_again(rig, first))
        assert second.silent()


# --- lost connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
def test_the_server_closes_an_idle_connection(reset: bool) -> None:
    with Rig(auth_http_keepalive=2) as rig:
        kept(rig).close(reset=reset)
        until(lambda: rig.stat("auth_connections") == 0)
        client, auth = rig.ask()
        rejected(rig, auth, client)


def test_an_idle_connection_that_talks_is_closed() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        auth.send(NO.replace(b"no", b"smuggled"))
        assert auth.rest() == b""
        rig.all_logged(UNASKED, since=1)


def test_a18_of_a_server_that_talks_unasked_no_connection_is_kept() -> None:
    with Rig(auth_http_keepalive=3) as rig:
        (client, first), (other, second) = rig.ask(), rig.ask()
        waiting, third = rig.ask()
        for auth, asking in ((first, client), (second, other)):
            auth.send(NO)
            assert asking.rest() == REPLY
        first.send(NO)
        assert first.rest() == second.rest() == b""
        third.send(NO)
        assert third.rest() == b""
        assert waiting.rest() == REPLY
        client, auth = rig.ask()
        rejected(rig, auth, client)
        assert auth.rest() == b""
        assert rig.log().count(UNASKED) == 1


REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""What some servers say before they close an idle connection."""


def test_a_timeout_ends_an_idle_connection_and_nothing_else() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        auth.send(REQUEST_TIMEOUT)
        assert auth.rest() == b""
        assert len(rig.log()) == 1
        auth = kept(rig)
        rejected(rig, auth, ask_again(rig, auth))


def test_a_timeout_that_meets_the_next_request() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.send(REQUEST_TIMEOUT)
        fresh = rig.asked()
        assert auth.rest() == b""
        rejected(rig, fresh, client)
        rejected(rig, fresh, ask_again(rig, fresh))


def test_a_timeout_on_a_new_connection_is_an_error() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.send(REQUEST_TIMEOUT)
        assert client.rest() == INTERNAL
        assert not rig.auth.waiting()


def test_a18_two_answers_at_once_on_a_kept_connection() -> None:
    """One of them may be the last login's once more: nobody can tell which."""
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.send(rig.accepting("Content-Length: 0", head="HTTP/1.1 200 OK") + NO)
        fresh = rig.asked()
        assert auth.rest() == b""
        rejected(rig, fresh, client)
        assert not rig.backend.waiting()
        assert rig.log()[1] == UNASKED


@pytest.mark.parametrize("reset", [False, True])
def test_a_used_connection_without_a_byte_is_tried_once_more(reset: bool) -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.close(reset=reset)
        fresh = rig.asked()
        assert fresh.request.replace(b"HTTP/1.1", b"") == rig_request(b"1")
        rejected(rig, fresh, client)
        why = 'client login failed: "no" while in http auth state'
        rig.all_logged(*[f"[info] {why}{suffix(upstream='')}"] * 2)  # and no error


@pytest.mark.parametrize("reset", [False, True])
def test_but_not_twice(reset: bool) -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.close()
        rig.asked().close(reset=reset)
        assert client.rest() == INTERNAL
        rig.quiet()
        assert not rig.auth.waiting()


@pytest.mark.parametrize("reset", [False, True])
def test_a_new_connection_is_never_tried_again(reset: bool) -> None:
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.close(reset=reset)
        assert client.rest() == INTERNAL
        rig.quiet()
        assert not rig.auth.waiting()


def test_nor_a_used_one_after_a_byte() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.send(b"H")
        auth.close()
        assert client.rest() == INTERNAL
        rig.quiet()
        assert not rig.auth.waiting()


def test_nor_after_a_timeout() -> None:
    with Rig(auth_http_keepalive=2, auth_http_timeout=TIMEOUT) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        assert client.rest() == INTERNAL
        assert auth.rest() == b""
        rig.quiet()
        assert not rig.auth.waiting()


def test_a_late_answer_is_nobodys() -> None:
    """After a timeout the connection must not be used again: its answer belongs to another login."""
    with Rig(auth_http_keepalive=2, auth_http_timeout=TIMEOUT) as rig:
        client, auth = rig.ask()
        assert client.rest() == INTERNAL
        assert auth.rest() == b""
        until(lambda: rig.stat("auth_connections") == 0)


def test_the_other_idle_ones_are_not_tried_either() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        asking = [rig.ask() for _ in range(2)]
        for client, auth in asking:
            auth.send(NO)
            assert client.rest() == REPLY
        rig.quiet()
        client = ask_again(rig, asking[1][1])
        asking[1][1].close()
        fresh = rig.asked()
        assert asking[0][1].rest() == b""
        rejected(rig, fresh, client)


def test_a_bad_answer_closes_it() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        auth.send(b"HTTP/1.1 200 OK\r\nAuth Status: OK\r\n\r\n")
        assert client.rest() == INTERNAL
        assert auth.rest() == b""


def test_a_client_that_leaves_does_not_disturb_it() -> None:
    """The answer is awaited all the same; then the connection serves the next login."""
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        ask_again(rig, auth).close(reset=True)
        auth.send(NO)
        rig.quiet()
        rejected(rig, auth, ask_again(rig, auth))


def test_connections_whose_body_never_comes_are_bounded() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        for _ in range(6):
            client, auth = rig.ask()
            auth.send(NO.replace(b"Length: 0", b"Length: 5"))
            assert client.rest() == REPLY
        rig.quiet()
        assert rig.stat("auth_connections") <= 2


def test_closing_the_engine_closes_those_that_wait_for_a_body() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        kept(rig, NO.replace(b"Length: 0", b"Length: 5"))


def rig_request(attempt: bytes) -> bytes:
    return (
        b"GET /auth \r\nHost: auth.test\r\nAuth-Method: plain\r\nAuth-User: user\r\nAuth-Pass: pass\r\n"
        b"Auth-Protocol: imap\r\nAuth-Login-Attempt: " + attempt + b"\r\nClient-IP: 127.0.0.1\r\n\r\n"
    )


# --- servers that have a process for each connection ----------------------------------------------

LONGER = 0.1  # seconds: more than a new connection may wait for its answer while others are kept


@pytest.mark.directive("auth_http_keepalive_time")
def test_an_idle_connection_is_closed_when_its_time_is_up() -> None:
    with Rig(auth_http_keepalive=2, auth_http_keepalive_time=TIMEOUT) as rig:
        auth = kept(rig)
        assert auth.rest() == b""
        until(lambda: rig.stat("auth_connections") == 0)
        client, auth = rig.ask()
        rejected(rig, auth, client)


def test_a_connection_whose_time_is_up_finishes_its_request() -> None:
    with Rig(auth_http_keepalive=2, auth_http_keepalive_time=1) as rig:
        client, auth = rig.ask()
        time.sleep(LONGER)
        auth.send(NO)
        assert client.rest() == REPLY
        assert auth.rest() == b""


def test_nothing_is_kept_while_a_new_connection_waits() -> None:
    """The server may have no process for it but the one that the other connection holds."""
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        other, waiting = rig.ask()
        time.sleep(LONGER)
        rejected_now(auth, client)
        assert auth.rest() == b""
        rejected_now(waiting, other)
        until(lambda: rig.stat("auth_connections") == 1)  # nobody waits any more
        rejected(rig, waiting, ask_again(rig, waiting))


def test_nothing_is_kept_once_new_connections_wait_longer_than_kept_ones() -> None:
    """A server with a process for each connection: it is not tried again before a while has passed."""
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        rejected(rig, auth, ask_again(rig, auth))
        client = ask_again(rig, auth)
        other, waiting = rig.ask()
        time.sleep(LONGER)
        rejected_now(waiting, other)
        assert waiting.rest() == b""
        rejected_now(auth, client)
        assert auth.rest() == b""
        client, fresh = rig.ask()
        rejected_now(fresh, client)
        assert fresh.rest() == b""


def test_a_slow_server_is_not_a_crowded_one() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        auth = kept(rig)
        client = ask_again(rig, auth)
        other, slow = rig.ask()
        time.sleep(LONGER)
        rejected_now(auth, client)
        rejected_now(slow, other)
        rejected_now(slow, ask_again(rig, slow))


def test_those_that_have_begun_to_answer_do_not_wait() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        other, slow = rig.ask()
        slow.send(NO[:10])
        time.sleep(LONGER)
        rejected_now(auth, client)
        rejected_now(auth, ask_again(rig, auth))
        rejected_now(slow, other, NO[10:])


def rejected_now(auth: Peer, client: Peer, answer: bytes = NO) -> None:
    auth.send(answer)
    assert client.rest() == REPLY
