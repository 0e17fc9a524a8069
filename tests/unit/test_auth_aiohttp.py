"""fastmail.auth against real servers: what reaches the wire, and what the engine is told."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.aiohttp_auth import OK, TIMEOUT, Engine, Serve, Server, answering, ask, at, request, run
from support.ports import reserve

from fastmail._speedups import AUTH_CLOSED, AUTH_TIMED_OUT
from fastmail.auth.client import AuthClient
from fastmail.auth.connection import MAX_CONNECTIONS, MAX_HEADER, header_end
from fastmail.config import AuthHttp

# What is sent


def test_request_reaches_the_server_byte_for_byte() -> None:
    data = request(
        b"Auth-User: j%20doe",
        "Auth-Pass: pässwörd".encode(),
        b"Auth-Protocol: imap",
        b"Client-IP: 127.0.0.1",
        b"X-Key: one",
        b"X-Key: two",
        b"Cookie: a=b",
        b"Connection: close",
        b"X-Tab: a\tb ",
        b"Empty: ",
        target=b"/auth?x=1&y=%41",
    )
    outcomes, server = ask(OK, data)
    assert server.requests == [data]
    assert outcomes == [OK]


@pytest.mark.parametrize("keepalive", [0, 1])
def test_request_that_aiohttp_would_change(keepalive: int) -> None:
    """Logins may be any bytes but line ends and NUL."""
    answer = b"HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nContent-Length: 0\r\n\r\n"
    data = [
        request(b"Auth-User: caf\xe9", b"Auth-Pass: \xff\xfe\x7f"),
        request(b"Host: again", b"X-Key: one", b"x-key: two"),
        request(b"Auth-User: u", "Auth-Pass: p\u00e4ss \u20ac".encode()),
    ]
    outcomes, server = ask(answering(answer, answer, answer), *data, keepalive=keepalive)
    assert server.requests == data
    assert outcomes == [answer] * 3


def test_kept_connection_carries_the_same_bytes_as_http_1_1() -> None:
    answer = b"HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nContent-Length: 2\r\n\r\nhi"
    data = request(b"Auth-User: u", b"Auth-Pass: p", version=b"1.1")
    outcomes, server = ask(answering(answer, answer, close=False), data, data, keepalive=1)
    assert server.requests == [data, data]
    assert server.connections == 1
    assert outcomes == [answer[:-2], answer[:-2]]


def test_without_keepalive_each_request_has_its_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nContent-Length: 0\r\n\r\n"
    _, server = ask(answering(answer, close=False), request(), request())
    assert server.connections == 2


def test_unix_socket(tmp_path: Path) -> None:
    data = b"GET /auth HTTP/1.0\r\nHost: localhost\r\nAuth-User: u\r\n\r\n"
    outcomes, server = ask(OK, data, path=str(tmp_path / "auth.sock"))
    assert (outcomes, server.requests) == ([OK], [data])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (request(b"Auth-SMTP-From: a\nb"), b'header "Auth-SMTP-From" has a control character'),
        (request(b"Bad Name: x"), b"a header line is malformed"),
        (request(b"No-Value"), b"a header line is malformed"),
        (request(target=b"?a=b"), b"URI is not a plain path"),
        (request(target=b"/a#b"), b"URI is not a plain path"),
        (request(target=b"/\xe9"), b"URI is not a plain path"),
    ],
)
def test_what_aiohttp_cannot_carry_exactly_is_not_sent(data: bytes, why: bytes) -> None:
    (outcome,), server = ask(OK, data)
    assert server.requests == []
    reason, message = outcome
    assert reason == AUTH_CLOSED
    assert isinstance(message, bytes) and message.endswith(b" was not asked: " + why)


values = st.binary(max_size=40).filter(lambda value: b"\r" not in value and b"\n" not in value)


@settings(max_examples=60)
@given(
    fields=st.lists(st.tuples(st.sampled_from([b"Auth-User", b"Auth-Pass", b"X", b"x"]), values), max_size=4)
)
def test_whatever_is_sent_is_sent_unchanged(fields: list[tuple[bytes, bytes]]) -> None:
    data = request(*(name + b": " + value for name, value in fields))
    (outcome,), server = ask(OK, data)
    if outcome == OK:
        assert server.requests == [data]
    else:
        assert server.requests == []


@settings(max_examples=30)
@given(value=st.text(st.characters(categories=["L", "N", "P", "S", "Z"]), max_size=30))
def test_text_is_always_carried(value: str) -> None:
    data = request(b"Auth-User: " + value.encode())
    assert ask(OK, data)[0] == [OK]


# What comes back


@pytest.mark.parametrize(
    "header",
    [
        b"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-User: \ttab\t in \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuth-Status: NO\r\nAuth-Status: OK\r\nAuth-Wait:   3  \r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\nAuth-Status: \xe9t\xe9\r\n\r\n",
        b"HTTP/1.0 500 \r\nauth-STATUS: OK\r\n\r\n",
        b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:1/\r\nAuth-Status: OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nSet-Cookie: a=b\r\nContent-Encoding: gzip\r\nAuth-Status: OK\r\n\r\n",
        b"HTTP/1.0 200 OK\nAuth-Status: OK\n\n",
        b"HTTP/1.0 200 OK\r\nAuth-Status: OK\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        # aiohttp refuses these; the engine judges them all the same
        b"Auth-Status: OK\r\nAuth-Port: 143\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nAuth Status: OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n folded\r\n\r\n",
        b"\x16\x03\x01 no http at all\r\n\r\n",
    ],
)
@pytest.mark.parametrize("rest", [b"", b"a body\r\n\r\nwith an empty line"])
def test_answer_header_is_handed_on_as_received(header: bytes, rest: bytes) -> None:
    outcomes, _ = ask(header + rest, request())
    assert outcomes == [header]


def test_answer_in_single_bytes() -> None:
    def bind(server: Server) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in OK:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)

        return serve

    assert ask(bind, request())[0] == [OK]


@pytest.mark.parametrize("part", [b"", b"HTTP/1.0 200 OK\r\n", OK[:-2]])
def test_server_that_closes_before_the_end_gives_no_answer_and_no_log(part: bytes) -> None:
    outcomes, server = ask(part, request())
    assert outcomes == [(AUTH_CLOSED, b"")]
    assert server.connections == 1, "asked again although it was a new connection"


def test_closed_kept_connection_is_asked_again_once() -> None:
    answer = b"HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nContent-Length: 0\r\n\r\n"

    def bind(server: Server) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            writer.write(answer)
            await server.read(reader)  # the second request meets a server that has had enough

        return serve

    data = request(version=b"1.1")
    outcomes, server = ask(bind, data, data, keepalive=1)
    assert outcomes == [answer, answer]
    assert (server.connections, len(server.requests)) == (2, 3)


def test_kept_connection_that_breaks_off_in_an_answer_is_not_asked_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nContent-Length: 0\r\n\r\n"
    data = request(version=b"1.1")
    outcomes, server = ask(answering(answer, b"HTTP/1.1 200 OK\r\n"), data, data, keepalive=1)
    assert outcomes == [answer, (AUTH_CLOSED, b"")]
    assert server.connections == 1


@pytest.mark.parametrize("strays", [True, False])
def test_a18_of_a_server_that_talks_unasked_no_connection_is_kept(strays: bool) -> None:
    """But a timeout, said before an idle connection is closed, is no such thing."""
    answer = b"HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nContent-Length: 0\r\n\r\n"
    said: list[str] = []

    async def test() -> None:
        idle, ended = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            first = server.connections == 1
            await server.read(reader)
            writer.write(answer)
            if first:
                await idle.wait()
                writer.write(answer if strays else answer.replace(b"200 OK", b"408 Request Timeout"))
                assert await reader.read() == b""
                ended.set()
            while True:
                await server.read(reader)
                writer.write(answer)

        server = Server(serve)
        engine = Engine()
        auth_http = await server.start()
        client = AuthClient(engine, auth_http, timeout=TIMEOUT, keepalive=1, error=said.append)
        for handle in range(3):
            client.ask(handle, request(version=b"1.1"))
            assert await engine.outcome(handle) == answer
            await client.settled()
            if handle == 0:
                idle.set()
                await ended.wait()
        assert server.connections == (3 if strays else 2)
        await client.close()
        await server.stop()
        why = "sent data that was not asked for: no connection is kept any more"
        assert said == [f"auth http server {auth_http.text} {why}"] * strays

    run(test)


def test_long_body_costs_the_connection_not_the_answer() -> None:
    header = b"HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nContent-Length: 1000000\r\n\r\n"
    data = request(version=b"1.1")
    outcomes, server = ask(answering(header + b"x" * 1_000_000), data, data, keepalive=1)
    assert outcomes == [header, header]
    assert server.connections == 2


def test_no_more_idle_connections_than_configured() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    both = asyncio.Event()
    ended = 0

    async def test() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal ended
            await server.read(reader)
            if len(server.requests) == 3:
                both.set()
            await both.wait()
            writer.write(answer)
            await reader.read()
            ended += 1
            all_but_one.set() if ended == 2 else None

        all_but_one = asyncio.Event()
        server = Server(serve)
        engine = Engine()
        client = AuthClient(engine, await server.start(), timeout=TIMEOUT, keepalive=1, error=print)
        for handle in range(3):
            client.ask(handle, request(version=b"1.1"))
        assert [await engine.outcome(handle) for handle in range(3)] == [answer] * 3
        await asyncio.wait_for(all_but_one.wait(), 5)
        assert ended == 2
        await client.close()
        await server.stop()

    run(test)


def test_endless_header_is_bounded() -> None:
    outcomes, _ = ask(b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * MAX_HEADER, request())
    (outcome,) = outcomes
    assert outcome[0] == AUTH_CLOSED


def test_silent_server_times_out() -> None:
    outcomes, _ = ask(
        answering(b"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\n", close=False), request(), timeout=200
    )
    assert outcomes == [(AUTH_TIMED_OUT, b"")]


def test_progress_does_not_extend_the_timeout() -> None:
    def bind(server: Server) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            writer.write(b"HTTP/1.0 200 OK\r\n")
            while not reader.at_eof():
                writer.write(b"X: y\r\n")
                await asyncio.sleep(0.05)

        return serve

    (outcome,), _ = ask(bind, request(), timeout=300)
    assert outcome[0] == AUTH_TIMED_OUT


async def failure(auth_http: AuthHttp) -> bytes | tuple[int, bytes]:
    engine = Engine()
    client = AuthClient(engine, auth_http, timeout=TIMEOUT, keepalive=0, error=print)
    client.ask(0, request())
    outcome = await engine.outcome(0)
    await client.close()
    return outcome


def test_refused_connection_reads_like_nginx() -> None:
    async def test() -> None:
        assert await failure(at(reserve())) == (AUTH_CLOSED, b"recv() failed (111: Connection refused)")

    run(test)


def several(*ports: int) -> AuthHttp:
    first, *others = (at(port, host="auth.test") for port in ports)
    return replace(first, others=tuple((other.family, other.address) for other in others))


def test_next_address_is_asked_if_one_cannot_be_connected_to() -> None:
    """From the first again at each login."""
    errors: list[str] = []

    async def test() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            writer.write(OK)

        server, engine, refusing = Server(serve), Engine(), reserve()
        auth_http = await server.start()
        addresses = several(refusing, auth_http.address[1])  # type: ignore[arg-type]
        client = AuthClient(engine, addresses, timeout=TIMEOUT, keepalive=0, error=errors.append)
        for handle in range(2):
            client.ask(handle, request())
            assert await engine.outcome(handle) == OK
        await client.close()
        await server.stop()
        assert len(server.requests) == 2
        line = f"connect() to 127.0.0.1:{refusing} failed (111: Connection refused) while in http auth state"
        assert errors == [line, line]

    run(test)


def test_no_address_can_be_connected_to() -> None:
    async def test() -> None:
        refused = (AUTH_CLOSED, b"recv() failed (111: Connection refused)")
        assert await failure(several(reserve(), reserve())) == refused

    run(test)


def test_server_that_has_the_request_is_the_only_one() -> None:
    async def test() -> None:
        async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await first.read(reader)

        first, second = Server(close), Server(close)
        ports = [(await server.start()).address[1] for server in (first, second)]
        assert await failure(several(*ports)) == (AUTH_CLOSED, b"")  # type: ignore[arg-type]
        for server in (first, second):
            await server.stop()
        assert (first.connections, second.connections) == (1, 0)

    run(test)


def test_missing_unix_socket_reads_like_nginx(tmp_path: Path) -> None:
    path = str(tmp_path / "nope.sock")

    async def test() -> None:
        auth_http = AuthHttp("unix", "localhost", socket.AF_UNIX, path, "/", f"unix:{path}")
        message = f"connect() to unix:{path} failed (2: No such file or directory)".encode()
        assert await failure(auth_http) == (AUTH_CLOSED, message)

    run(test)


def test_a_stopped_client_tells_the_engine_nothing_more() -> None:
    async def test() -> None:
        server = Server(answering(b"", close=False)(Server(None)))  # type: ignore[arg-type]
        engine = Engine()
        client = AuthClient(engine, await server.start(), timeout=TIMEOUT, keepalive=0, error=print)
        client.ask(0, request())
        await client.close()
        await server.stop()
        assert engine.told == {}

    run(test)


# Pieces


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0), (b"a\r\n", 0), (b"a\r\n\r", 0), (b"a\r\n\r\n", 5), (b"a\n\n", 3), (b"a\n\r\n", 4),
        (b"a\r\n\nb\r\n\r\n", 4), (b"\r\nrest", 2), (b"\n", 1), (b"a\r\r\n\n", 5),
    ],
)  # fmt: skip
def test_header_end(data: bytes, end: int) -> None:
    assert header_end(data) == end


def test_logins_beyond_the_connections_wait_their_turn() -> None:
    """They wait as bytes, not as tasks, and each is answered."""
    waiting = 40

    async def test() -> None:
        release = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            await release.wait()
            writer.write(OK)

        server = Server(serve)
        engine = Engine()
        client = AuthClient(engine, await server.start(), timeout=TIMEOUT, keepalive=0, error=print)
        for handle in range(MAX_CONNECTIONS + waiting):
            client.ask(handle, request(b"Auth-User: %d" % handle))
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= MAX_CONNECTIONS + 2
        release.set()
        for handle in range(MAX_CONNECTIONS + waiting):
            assert await engine.outcome(handle) == OK
        await client.settled()
        assert len(server.requests) == MAX_CONNECTIONS + waiting
        await client.close()
        await server.stop()

    run(test)


def test_logins_that_wait_too_long_for_a_connection() -> None:
    async def test() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            await reader.read()

        server = Server(serve)
        engine = Engine()
        client = AuthClient(engine, await server.start(), timeout=300, keepalive=0, error=print)
        for handle in range(MAX_CONNECTIONS + 3):
            client.ask(handle, request())
        for handle in range(MAX_CONNECTIONS + 3):
            assert await engine.outcome(handle) == (AUTH_TIMED_OUT, b"")
        await client.close()
        await server.stop()

    run(test)
