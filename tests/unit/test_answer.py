"""The auth server's answer (reference 6.2): read in any pieces, judged by Dialogue.auth_answer() (6.3)."""

from typing import Any

import pytest
from dialogue.exchange import answer, every_way, server
from hypothesis import given
from hypothesis import strategies as st

from fastmail._speedups import AuthAnswer, Dialogue

NOTHING = {
    "rejected": False, "again": False, "status": None, "server": None, "port": None, "user": None,
    "password": None, "error_code": None, "wait": 0, "persistent": False, "body": -1,
}  # fmt: skip


def read(pieces: list[bytes]) -> tuple[str, dict[str, Any]]:
    """Feed until the header is complete or bad."""
    parser = AuthAnswer()
    result = "more"
    for piece in pieces:
        result = parser.feed(piece)
        if result != "more":
            break
    return result, parser.fields()


GOOD: dict[str, tuple[bytes, dict[str, Any]]] = {
    "empty": (b"\r\n", {}),
    "empty, bare line feed": (b"\n", {}),
    "a status line alone": (b"HTTP/1.0 200 OK\r\n\r\n", {}),
    "the status code means nothing": (b"HTTP/1.0 404 Not Found\r\nAuth-Port: 1\r\n\r\n", {"port": b"1"}),
    "nor does the rest of that line": (b"HTTP/\r\nAuth-Port: 1\r\n\r\n", {"port": b"1"}),
    "no status line": (b"Auth-Server: 192.0.2.7\r\nAuth-Port: 143\r\n\r\n",
                       {"server": b"192.0.2.7", "port": b"143"}),
    "a header that begins like one": (b"HTTP: x\r\nAuth-Port: 1\r\n\r\n", {"port": b"1"}),
    "another": (b"H\r\nAuth-Port: 1\r\n\r\n", {"port": b"1"}),
    "bare line feeds": (b"HTTP/1.0 200 OK\nAuth-Port: 1\n\n", {"port": b"1"}),
    "names in any case": (b"aUTH-pORT: 1\r\n\r\n", {"port": b"1"}),
    "no space": (b"Auth-Port:1\r\n\r\n", {"port": b"1"}),
    "many spaces": (b"Auth-Port:   1   \r\n\r\n", {"port": b"1"}),
    "inner spaces, tabs and colons are the value's": (b"Auth-Pass: \t a : b\t\r\n\r\n",
                                                      {"password": b"\t a : b\t"}),
    "8-bit and control bytes": (b"Auth-User: \xff\0\x01\r\n\r\n", {"user": b"\xff\0\x01"}),
    "empty values": (b"Auth-User:\r\nAuth-Pass: \r\n\r\n", {"user": b"", "password": b""}),
    "a name alone is a header without value": (b"Auth-User\r\n\r\n", {"user": b""}),
    "the last one wins": (b"Auth-Port: 1\r\nAuth-Port: 2\r\n\r\n", {"port": b"2"}),
    "others are ignored": (b"X: 1\r\nAuth-: 2\r\nAuth-X: 3\r\nAuth: 4\r\n"
                           b"XAuth-Port: 5\r\nAuth-Portal: 6\r\n\r\n", {}),
    "names may begin with a digit": (b"9: x\r\n\r\n", {}),
    "accepted": (b"Auth-Status: OK\r\n\r\n", {}),
    "rejected": (b"Auth-Status: no way\r\n\r\n", {"rejected": True, "status": b"no way"}),
    "values have their case": (b"Auth-Status: ok\r\n\r\n", {"rejected": True, "status": b"ok"}),
    "rejected without text": (b"Auth-Status: \r\n\r\n", {"rejected": True, "status": b""}),
    "OK does not clear a rejection": (b"Auth-Status: no\r\nAuth-Status: OK\r\n\r\n",
                                      {"rejected": True, "status": b"no"}),
    "a rejection after OK": (b"Auth-Status: OK\r\nAuth-Status: no\r\n\r\n",
                             {"rejected": True, "status": b"no"}),
    "again": (b"Auth-Status: WAIT\r\nAuth-Wait: 3\r\n\r\n", {"again": True, "wait": 3000}),
    "a time that is none": (b"Auth-Wait: soon\r\n\r\n", {}),
    "a time with a unit": (b"Auth-Wait: 3s\r\n\r\n", {}),
    "a negative time": (b"Auth-Wait: -1\r\n\r\n", {}),
    "a time beyond 64 bits": (b"Auth-Wait: 99999999999999999999\r\n\r\n", {}),
    "a failure code": (b"Auth-Error-Code: 454 4.7.0\r\n\r\n", {"error_code": b"454 4.7.0"}),
    "HTTP/1.1 stays open": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                            {"persistent": True, "body": 5}),
    "HTTP/1.1 that closes": (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", {}),
    "HTTP/1.0 that stays": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
                            {"persistent": True, "body": 0}),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", {"persistent": True, "body": 0}),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", {"body": 5, "persistent": True}),
    "in two ways": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", {"body": 5}),
    "a length that is none": (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", {}),
    "one that is none and one": (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\nContent-Length: 0\r\n\r\n",
                                 {"body": 0}),
    "names of all characters that may be in one": (b"Auth_Status: no\r\n-X!#$%&'*+.^_`|~9: y\r\n\r\n", {}),
    "4096 bytes": (b"Auth-Port: 1\r\nX: " + b"x" * 4075 + b"\r\n\r\n", {"port": b"1"}),
}  # fmt: skip

BAD = {
    "a header of two lines": b"Auth-Status: a\r\n b\r\n\r\n",
    "no name": b": x\r\n\r\n",
    "a space in the name": b"Auth Status: OK\r\n\r\n",
    "a space behind the name": b"Auth-Status : OK\r\n\r\n",
    "8-bit in a name": b"Auth-\xe9: OK\r\n\r\n",
    "a NUL in a name": b"Auth\0: OK\r\n\r\n",
    "a carriage return alone in the status line": b"HTTP/1.0 200\rOK\r\n\r\n",
    "a carriage return alone in a value": b"Auth-Status: a\rb\r\n\r\n",
    "a carriage return alone behind a name": b"Auth-Status\rb\r\n\r\n",
    "a carriage return alone at the end": b"Auth-Status: OK\r\n\rx",
    "4097 bytes": b"X: " + b"x" * 4090 + b"\r\n\r\n",
    "no end": b"x" * 5000,
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    data, fields = GOOD[name]

    def check(pieces: list[bytes]) -> None:
        assert read(pieces) == ("done", NOTHING | fields)

    every_way(data, check)


@pytest.mark.parametrize("name", GOOD)
def test_incomplete(name: str) -> None:
    header = GOOD[name][0].removesuffix(b"hello")
    assert read([header[:-1]])[0] == "more"


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    def check(pieces: list[bytes]) -> None:
        assert read(pieces)[0] == "error"

    every_way(BAD[name], check)


@given(data=st.binary(max_size=300) | st.text("HTTP/1. Auth-Sts:OK\r\n", max_size=200).map(str.encode))
def test_any_bytes_in_any_pieces(data: bytes) -> None:
    expected = read([data])
    every_way(data, lambda pieces: check_same(read(pieces), expected))


def check_same(seen: tuple[str, dict[str, Any]], expected: tuple[str, dict[str, Any]]) -> None:
    assert seen == expected


# --- what it means -------------------------------------------------------------------------------

NO_ADDRESS = "error: auth http server 127.0.0.1:8080 did not send server or port"
NO_PASSWORD = "error: auth http server 127.0.0.1:8080 did not send password"
AUTH: dict[str, Any] = {"auth": ("external", "cram-md5")}
LOGIN = b"a LOGIN user pass\r\n"
EXTERNAL = b"a AUTHENTICATE EXTERNAL dXNlcg==\r\n"


def judge(
    header: bytes, said: bytes = LOGIN, options: dict[str, Any] | None = None
) -> tuple[tuple[str, bytes, int], list[str], Dialogue]:
    """The outcome, the log, and the dialogue that has asked."""
    dialogue = Dialogue(server(**options or {}))
    assert dialogue.feed(said)[1] == "auth"
    return dialogue.auth_answer(header), dialogue.log, dialogue


@pytest.mark.parametrize(
    ("address", "port", "printed"),
    [
        ("192.0.2.7", "143", b"192.0.2.7:143"),
        ("0.0.0.0", "1", b"0.0.0.0:1"),
        ("255.255.255.254", "65535", b"255.255.255.254:65535"),
        ("::1", "143", b"::1:143"),
        ("2001:db8::7", "143", b"2001:db8::7:143"),
        ("::ffff:192.0.2.7", "143", b"::ffff:192.0.2.7:143"),
    ],
)
def test_backend_address(address: str, port: str, printed: bytes) -> None:
    assert judge(answer(address=address, port=port))[:2] == (("proxy", printed, 0), [])


def test_status_is_not_needed() -> None:
    assert judge(answer(None))[0] == ("proxy", b"192.0.2.7:143", 0)


INVALID = ("localhost", "255.255.255.255", "[::1]", "::g", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.x",
           "-1.2.3.4", "1.2.3.4:5", "1.2.3.4 ,",
           ":", "a" * 300)  # fmt: skip


@pytest.mark.parametrize("address", INVALID)
def test_invalid_address(address: str) -> None:
    outcome, log, _ = judge(answer(address=address))
    assert outcome[0] == "error"
    assert log == [f'error: auth http server 127.0.0.1:8080 sent invalid server address:"{address}"']


@pytest.mark.parametrize("port", ["0", "65536", "-1", "143x", "0x8f", "1 2", "99999999999999999999"])
def test_invalid_port(port: str) -> None:
    outcome, log, _ = judge(answer(port=port))
    assert outcome[0] == "error"
    assert log == [f'error: auth http server 127.0.0.1:8080 sent invalid server port:"{port}"']


@pytest.mark.parametrize(("address", "port"), [(None, "143"), ("192.0.2.7", None), (None, None)])
def test_no_address(address: str | None, port: str | None) -> None:
    outcome, log, _ = judge(answer(address=address, port=port))
    assert (outcome[0], log) == ("error", [NO_ADDRESS])


def test_empty_address_is_invalid() -> None:
    assert judge(answer(address=""))[0][0] == "error"
    assert judge(answer(port=""))[0][0] == "error"


def test_external_needs_a_password() -> None:
    outcome, log, _ = judge(answer(), EXTERNAL, AUTH)
    assert (outcome[0], log) == ("error", [NO_PASSWORD])


def test_external_with_a_password() -> None:
    outcome, _, dialogue = judge(answer("OK", "Auth-Pass: secret"), EXTERNAL, AUTH)
    assert outcome[0] == "proxy"
    assert dialogue.credentials[1:] == (b"user", b"secret")


def test_missing_address_comes_before_missing_password() -> None:
    assert judge(answer(address=None), EXTERNAL, AUTH)[1] == [NO_ADDRESS]


def test_missing_password_comes_before_invalid_address() -> None:
    assert judge(answer(address="localhost"), EXTERNAL, AUTH)[1] == [NO_PASSWORD]


def test_rejection_comes_before_all_else() -> None:
    outcome, log, _ = judge(answer("no", "Auth-Status: WAIT", address="localhost"))
    assert outcome == ("rejected", b"a NO no\r\n* BYE closing connection\r\n", 0)
    assert log == ['info: client login failed: "no"']


def test_digest_is_no_password() -> None:
    dialogue = Dialogue(server(**AUTH), salt=b"<1.2@h>")
    dialogue.feed(b"a AUTHENTICATE CRAM-MD5\r\n")
    assert dialogue.feed(b"dXNlciAwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\r\n")[1] == "auth"
    assert dialogue.auth_answer(answer())[0] == "error"
    assert dialogue.log == [NO_PASSWORD]


def test_names_of_the_auth_server_are_taken_raw() -> None:
    _, _, dialogue = judge(answer("OK", "Auth-User: a%20b", "Auth-Pass: c%25"))
    assert dialogue.credentials[1:] == (b"a%20b", b"c%25")


def test_wait_pauses_a_rejection() -> None:
    assert judge(answer("no", "Auth-Wait: 7"))[0] == ("rejected", b"a NO no\r\n", 7000)


def test_wait_means_nothing_with_an_acceptance() -> None:
    assert judge(answer("OK", "Auth-Wait: 7"))[0] == ("proxy", b"192.0.2.7:143", 0)


def test_auth_server_on_a_unix_socket_is_named_by_its_path() -> None:
    log = judge(answer(address=None), options={"auth_http": (1, "/run/auth.sock")})[1]
    assert log == ["error: auth http server unix:/run/auth.sock did not send server or port"]
