"""Whether an auth server keeps connections: it is asked twice on one (``fastmail migrate --probe-auth``)."""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass

from fastmail._speedups import AuthAnswer
from fastmail.config import AuthHttp, ServerConfiguration

USER = "probe@fastmail.invalid"
"""Nobody's: .invalid is reserved (RFC 2606)."""

PASSWORD = "probe"
CLIENT = "192.0.2.1"
"""Nobody's either (RFC 5737): a server that bans who fails bans nobody."""

_MARK = "fastmail migrate --probe-auth"
_TIMEOUT = 5.0  # seconds for each step
_AFTERWARDS = 0.3  # seconds in which more than an answer may come
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True)
class Finding:
    """``reason`` continues a sentence that begins with the server's name."""

    keeps: bool
    reason: str


class _Loses(Exception):
    """Why connections to the server cannot be kept."""


def url(auth: AuthHttp) -> str:
    """The server as ``auth_http`` names it, its address resolved."""
    return f"{auth.text}:{auth.uri}" if auth.scheme == "unix" else f"{auth.scheme}://{auth.text}{auth.uri}"


def ask(server: ServerConfiguration) -> Finding:
    """Ask its auth server for the same login twice, as fastmail would with ``auth_http_keepalive``."""
    request = _request(server)
    try:
        with _connect(server) as connection:
            try:
                _answered(connection, request)
            except _Loses as loss:
                return Finding(False, f"asked once, {loss}")
            try:
                _answered(connection, request)
                connection.settimeout(_AFTERWARDS)
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1):
                        raise _Loses("it sent more than two answers")
            except (_Loses, OSError) as loss:
                return Finding(False, f"asked twice on one connection, {_words(loss)}")
    except OSError as error:
        return Finding(False, f"could not be asked: {_words(error)}")
    return Finding(True, "asked twice on one connection, it answered both times and kept the connection open")


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"it did not answer within {_TIMEOUT:.0f} seconds"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _request(server: ServerConfiguration) -> bytes:
    auth = server.auth_http
    lines = [
        f"GET {auth.uri} HTTP/1.1", f"Host: {auth.host}", "Auth-Method: plain", f"Auth-User: {USER}",
        f"Auth-Pass: {PASSWORD}", f"Auth-Protocol: {server.protocol}", "Auth-Login-Attempt: 1",
        f"Client-IP: {CLIENT}", *(f"{name}: {value}" for name, value in server["auth_http_header"]),
        f"User-Agent: {_MARK}", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def _connect(server: ServerConfiguration) -> socket.socket:
    auth = server.auth_http
    connection = _connected(auth)
    try:
        if server.auth_tls is None:
            return connection
        name = server["auth_http_ssl_name"] or auth.host
        return server.auth_tls.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise


def _connected(auth: AuthHttp) -> socket.socket:
    """To the first of its addresses that takes a connection. Raises the last one's OSError."""
    for number, (family, address) in enumerate(auth.addresses, 1):
        connection = socket.socket(family)
        try:
            connection.settimeout(_TIMEOUT)
            connection.connect(address)
            return connection
        except OSError:
            connection.close()
            if number == len(auth.addresses):
                raise
    raise AssertionError("a server has an address")


def _answered(connection: socket.socket, request: bytes) -> None:
    """Send the request and read the answer, as the engine judges it. Raises _Loses and OSError."""
    connection.sendall(request)
    answer = AuthAnswer()
    data, result = b"", "more"
    while result == "more":
        data += _received(connection)
        answer = AuthAnswer()
        result = answer.feed(data)
    if result != "done":
        raise _Loses("its answer cannot be read")
    fields = answer.fields()
    header = _EMPTY_LINE.search(data)
    assert header is not None
    if not fields["persistent"] or fields["body"] < 0:
        raise _Loses(_why_not(data[: header.start()].lower()))
    end = header.end() + fields["body"]
    while len(data) < end:
        data += _received(connection)
    if b"transfer-encoding" in data[: header.start()].lower() and data[header.end() : end] != b"0\r\n\r\n":
        raise _Loses("its answer has a body without Content-Length")
    if len(data) > end:
        raise _Loses("it sent more than an answer")


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise _Loses("it closed the connection")
    return data


def _why_not(header: bytes) -> str:
    status, _, lines = header.partition(b"\n")
    if re.search(rb"^connection:\s*close", lines, re.MULTILINE):
        return "it closes the connection after each answer"
    if not status.startswith(b"http/1.1"):
        return "it answers with HTTP/1.0 and closes the connection"
    return "its answer has no Content-Length"
