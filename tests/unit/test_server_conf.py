"""Server: what it refuses, and what its options change in a session."""

from typing import Any

import pytest
from dialogue.exchange import request, server

from fastmail._speedups import Dialogue

LOGIN = b"a LOGIN user pass\r\n"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"protocol": "nntp"}, ValueError),
        ({"protocol": ""}, ValueError),
        ({"protocol": "IMAP"}, ValueError),
        ({"auth": ("plain", "digest-md5")}, ValueError),
        ({"auth": ("PLAIN",)}, ValueError),
        ({"auth_http_transport": "curl"}, ValueError),
        ({"auth_http": (2, ("localhost", 80))}, ValueError),
        ({"auth_http": (2, ("::1", 80))}, ValueError),
        ({"auth_http": (10, ("127.0.0.1", 80))}, ValueError),
        ({"auth_http": (99, ("127.0.0.1", 80))}, ValueError),
        ({"auth_http": (1, "/" + "x" * 200)}, ValueError),
        ({"client_buffer": 0}, OverflowError),
        ({"client_buffer": 2**32}, OverflowError),
        ({"client_buffer": 2**32 - 1}, OverflowError),
        ({"client_buffer": -1}, OverflowError),
        ({"proxy_buffer": 0}, OverflowError),
        ({"proxy_buffer": 2**30}, OverflowError),
        ({"timeout": -1}, OverflowError),
        ({"timeout": 2**64}, OverflowError),
        ({"max_errors": 2**32}, OverflowError),
        ({"max_commands": 2**32}, OverflowError),
        ({"proxy_bind": [((2, ("localhost", 0)), b"localhost")]}, ValueError),
        ({"auth_http_keepalive": -1}, OverflowError),
        ({"log": [(2, 7)] * 9}, ValueError),
        ({"server_name": "text"}, TypeError),
        ({"unknown": 1}, TypeError),
    ],
)
def test_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        server(**({"protocol": "imap"} | options))


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="nntp"):
        server("nntp")
    with pytest.raises(ValueError, match="digest-md5"):
        server(auth=("digest-md5",))
    with pytest.raises(ValueError, match="localhost"):
        server(auth_http=(2, ("localhost", 80)))


def asked(client: bytes = b"127.0.0.1", **options: Any) -> bytes:
    dialogue = Dialogue(server(**options), client=client)
    assert dialogue.feed(LOGIN)[1] == "auth"
    return dialogue.auth_request()


def test_request() -> None:
    assert asked() == request("user", "pass")


def test_request_on_a_kept_connection_is_http_1_1() -> None:
    assert asked(auth_http_keepalive=1) == request("user", "pass").replace(b"HTTP/1.0", b"HTTP/1.1")


def test_host_and_uri() -> None:
    lines = asked(auth_http_host=b"[::1]", auth_http_uri=b"?a=b").split(b"\r\n")
    assert lines[:2] == [b"GET ?a=b HTTP/1.0", b"Host: [::1]"]


def test_headers_come_last_and_as_configured() -> None:
    headers = [(b"X-Key", b"se cret"), (b"x-%41", b"\xff%20")]
    assert asked(auth_http_headers=headers).endswith(
        b"Client-IP: 127.0.0.1\r\nX-Key: se cret\r\nx-%41: \xff%20\r\n\r\n"
    )


LONGEST = b"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"


@pytest.mark.parametrize("client", [b"2001:db8::1", b"unix:", b"::ffff:192.0.2.1", LONGEST])
def test_client_address(client: bytes) -> None:
    assert b"\r\nClient-IP: " + client + b"\r\n" in asked(client)


def test_no_address_is_that_long() -> None:
    with pytest.raises(ValueError, match="address"):
        Dialogue(server(), client=b"1" * 46)


def test_a_dialogue_keeps_its_server() -> None:
    dialogues = [Dialogue(server(capabilities=[b"A%d" % number])) for number in range(50)]
    for number, dialogue in enumerate(dialogues):
        assert dialogue.feed(b"a CAPABILITY\r\n")[0].startswith(b"* CAPABILITY A%d AUTH=PLAIN\r\n" % number)
