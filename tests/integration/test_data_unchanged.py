"""Once a client has logged in nothing is changed: what goes in comes out, both ways, byte for byte."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ports
from support.authserver import AuthServer, answer
from support.backend import read_command
from support.listener import PATIENCE, Connection, Ended, Listener
from support.ports import HOST
from support.proxy import Proxy

MEGABYTES = 8_000_000

ENDS = (
    b".", b"\r", b"\n", b"\r\n", b"\0", b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r",
    b"\r\n\0.\r\n",
)  # fmt: skip
PIECES = (
    *ENDS, b"..", b"\r\n..", b"\n..\n", b"\xff", b"\x80", b"x" * 998, b"LF.LF", b"CRLF.CRLF", b"DATA\r\n",
    b"QUIT\r\n", b"RSET\n", b"STARTTLS\r\n", b"BDAT 3 LAST\r\n", b"XCLIENT ADDR=1.2.3.4\r\n", b"250 ok\r\n",
    b"RETR 1\r\n", b"+OK\r\n", b"-ERR\r\n", b"a APPEND INBOX {5}\r\n", b"* 1 FETCH (BODY[] {5}\r\n",
    b"* BYE\r\n",
)  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """A login in one packet, what it is answered, and the same between proxy and backend."""

    directives: str
    login: bytes
    answers: bytes
    replies: tuple[str, ...]
    """The backend's greeting, and its reply to each command of the login."""
    commands: tuple[bytes, ...]
    """What the backend is told; empty where nginx and fastmail spell it differently."""
    tail: bytes = b""
    """What follows the login in a real session, before the data."""


SMTP = "protocol smtp; xclient off;"
EHLO = b"EHLO proxy.example\r\n"
TRANSACTION = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
PROTOCOLS = {
    "smtp": Protocol(
        f"{SMTP} smtp_auth plain;",
        b"EHLO c\r\nAUTH PLAIN AHUAcA==\r\n",
        b"220 proxy.example ESMTP ready\r\n250-proxy.example\r\n250 AUTH PLAIN\r\n235 2.0.0 OK\r\n",
        ("220 hello", "250 ok"),
        (EHLO,),
        TRANSACTION + b"DATA\r\n",
    ),
    "smtp none": Protocol(
        f"{SMTP} smtp_auth none;",
        b"EHLO c\r\n" + TRANSACTION,
        b"220 proxy.example ESMTP ready\r\n250 proxy.example\r\n250 2.0.0 OK\r\n250 recipient\r\n",
        ("220 hello", "250 ok", "250 sender", "250 recipient"),
        (EHLO, *TRANSACTION.splitlines(keepends=True)),
        b"DATA\r\n",
    ),
    "pop3": Protocol(
        "protocol pop3;",
        b"USER u\r\nPASS p\r\n",
        b"+OK POP3 ready\r\n+OK\r\n+OK in\r\n",
        ("+OK hello", "+OK", "+OK in"),
        (b"USER u\r\n", b"PASS p\r\n"),
        b"RETR 1\r\n",
    ),
    "imap": Protocol(
        "protocol imap;",
        b"a LOGIN u p\r\n",
        b"* OK IMAP4 ready\r\na OK in\r\n",
        ("* OK hello", "a OK in"),
        (),
        b"b APPEND INBOX {1000}\r\n",
    ),
}


class Recorder(Listener):
    """A backend that keeps all it receives after the login, and answers the first byte with its pieces."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.pieces: tuple[bytes, ...] = ()
        self.closes = False
        """Whether it closes behind the pieces."""
        self.commands: tuple[bytes, ...] = ()
        self.data = b""
        super().__init__()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces leave as they are

    def serve(self, connection: Connection) -> None:
        self.commands, self.data = (), b""
        greeting, *replies = self._protocol.replies
        connection.perform(greeting)
        for reply in replies:
            self.commands += (read_command(connection),)
            connection.perform(reply)
        with contextlib.suppress(Ended):
            connection.read(1)
        if self.closes:
            return self._send(connection)
        sender = threading.Thread(target=self._send, args=(connection,))
        sender.start()
        connection.drain()
        sender.join(PATIENCE)
        self.data = bytes(connection.received[sum(map(len, self.commands)) :])

    def _send(self, connection: Connection) -> None:
        with contextlib.suppress(Ended):
            connection.perform(self.pieces)


class Path:
    """Client, proxy, recorder: one session at a time."""

    def __init__(self, kind: str, protocol: Protocol) -> None:
        self.protocol = protocol
        with ExitStack() as stack:
            self.recorder = stack.enter_context(Recorder(protocol))
            self.auth = stack.enter_context(AuthServer(lambda _: answer("OK", port=self.recorder.port)))
            self.port = ports.reserve()
            mail = (
                f"auth_http 127.0.0.1:{self.auth.port}/auth; server_name proxy.example;\n"
                f"server {{ listen 127.0.0.1:{self.port}; {protocol.directives} }}"
            )
            self.proxy = stack.enter_context(Proxy(kind, mail, [self.port]))
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def session(self, sent: list[bytes], received: list[bytes], ahead: int = 0) -> tuple[bytes, bytes]:
        """Log in and exchange the pieces; what client and backend got. ``ahead`` pieces go before the login's
        answer has come, the first of them in the login's packet."""
        self.recorder.forget()
        self.recorder.pieces = tuple(received)
        with socket.create_connection((HOST, self.port), PATIENCE) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(self.protocol.login + b"".join(sent[:1] if ahead else []))
            for piece in sent[1:ahead]:
                client.sendall(piece)
            got = read(client, len(self.protocol.answers))
            for piece in sent[ahead:]:
                client.sendall(piece)
            got += read(client, len(b"".join(received)))
            client.shutdown(socket.SHUT_WR)
            got += read_all(client)
        assert self.recorder.wait_ended()
        return got, self.recorder.data


def read(client: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer if the proxy closes."""
    data = bytearray()
    while len(data) < size and (part := client.recv(min(size - len(data), 1 << 20))):
        data += part
    return bytes(data)


def read_all(client: socket.socket) -> bytes:
    """All bytes until the proxy closes."""
    data = b""
    while part := client.recv(65536):
        data += part
    return data


@pytest.fixture(scope="module", params=PROTOCOLS)
def path(request: pytest.FixtureRequest, proxy_kind: str) -> Iterator[Path]:
    path = Path(proxy_kind, PROTOCOLS[request.param])
    yield path
    path.close()


@pytest.fixture(scope="module", params=["smtp", "smtp none"])
def smtp(request: pytest.FixtureRequest, proxy_kind: str) -> Iterator[Path]:
    path = Path(proxy_kind, PROTOCOLS[request.param])
    yield path
    path.close()


@st.composite
def cut_data(draw: st.DrawFn) -> list[bytes]:
    """Data up to 300 kB, most of it a few bytes, in pieces cut anywhere."""
    parts = draw(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=40))
    data = (b"".join(parts) * draw(st.sampled_from([1, 1, 1, 1, 40, 5000])))[:300_000]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return cut(data, cuts)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    return [piece for start, end in pairwise([0, *cuts, len(data)]) if (piece := data[start:end])]


@settings(max_examples=100)
@given(sent=cut_data(), received=cut_data(), ahead=st.integers(0, 9))
def test_a6_all_bytes_after_the_login_pass_unchanged(
    path: Path, sent: list[bytes], received: list[bytes], ahead: int
) -> None:
    sent = [path.protocol.tail, *sent]
    got, data = path.session(sent, received, ahead)
    assert got == path.protocol.answers + b"".join(received)
    assert data == b"".join(sent)
    if path.protocol.commands:
        assert path.recorder.commands == path.protocol.commands


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_a5_false_ends_of_data_pass_unchanged_however_cut(smtp: Path, end: bytes) -> None:
    before = smtp.protocol.tail + b"Subject: s\r\n\r\nbody"
    data = before + end + b"MAIL FROM:<x@y>\r\n.\r\nQUIT\r\n"
    for position in range(len(before) - 1, len(before) + len(end) + 2):
        for ahead in (0, 1, 2):
            _, received = smtp.session(cut(data, [position]), [], ahead)
            assert received == data


def test_a5_data_byte_by_byte(path: Path) -> None:
    data = path.protocol.tail + b"".join(ENDS)
    reply = b"".join(reversed(ENDS))
    got, received = path.session([bytes([byte]) for byte in data], [bytes([byte]) for byte in reply])
    assert got == path.protocol.answers + reply
    assert received == data


def test_megabytes_both_ways_at_once(path: Path) -> None:
    generator = random.Random(1)
    sent, received = (b"".join(generator.choices(PIECES, k=MEGABYTES // 60)) for _ in range(2))
    got, data = path.session([sent], [received])
    assert got == path.protocol.answers + received
    assert data == sent


def test_all_arrives_before_the_backend_closes(path: Path) -> None:
    reply = b"".join(random.Random(2).choices(PIECES, k=MEGABYTES // 60))
    path.recorder.forget()
    path.recorder.pieces = (reply,)
    path.recorder.closes = True
    try:
        with socket.create_connection((HOST, path.port), PATIENCE) as client:
            client.sendall(path.protocol.login + b"?")
            assert read(client, len(path.protocol.answers) + len(reply) + 1) == path.protocol.answers + reply
    finally:
        path.recorder.closes = False


def test_all_arrives_when_the_client_ends_at_once(path: Path) -> None:
    """Sent with the login in one go, then FIN: the session has not yet begun when the client is gone."""
    data = b"".join(random.Random(3).choices(PIECES, k=500))
    path.recorder.forget()
    path.recorder.pieces = ()
    with socket.create_connection((HOST, path.port), PATIENCE) as client:
        client.sendall(path.protocol.login + data)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == path.protocol.answers
    assert path.recorder.wait_ended()
    assert path.recorder.data == data


@pytest.fixture(scope="module")
def open_smtp(proxy_kind: str) -> Iterator[Path]:
    path = Path(proxy_kind, PROTOCOLS["smtp none"])
    yield path
    path.close()


def arguments() -> st.SearchStrategy[bytes]:
    odd = (*ENDS, b" ", b":", b"%", b"\t", b"\r\nAuth-User: x", b"\nRCPT TO:<x>\n", b"\x7f", b"\xe9")
    return st.lists(st.sampled_from(odd) | st.binary(max_size=5), max_size=6).map(b"".join)


@settings(max_examples=200)
@given(sender=arguments(), recipient=arguments())
def test_a5_envelope_commands_stay_single_lines(open_smtp: Path, sender: bytes, recipient: bytes) -> None:
    """Whatever stands in MAIL and RCPT, the backend gets one line for each, as the client wrote it, and the
    auth server no header that the proxy has not written."""
    open_smtp.recorder.forget()
    open_smtp.recorder.pieces = ()
    open_smtp.auth.script([])
    said = b"EHLO c\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nQUIT\r\n" % (sender, recipient)
    with socket.create_connection((HOST, open_smtp.port), PATIENCE) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # the proxy may close with input unread
            read_all(client)
    for request in open_smtp.auth.requests:
        names = [line.partition(b":")[0] for line in request.raw.split(b"\r\n")[1:-2]]
        assert names == [
            b"Host", b"Auth-Method", b"Auth-User", b"Auth-Pass", b"Auth-Protocol", b"Auth-Login-Attempt",
            b"Client-IP", b"Client-Host", b"Auth-SMTP-Helo", b"Auth-SMTP-From", b"Auth-SMTP-To",
        ]  # fmt: skip
    if not open_smtp.recorder.connections:
        return
    assert open_smtp.recorder.wait_ended()
    ehlo, *envelope = open_smtp.recorder.commands
    assert ehlo == EHLO
    lines = [line.rstrip(b"\r\n ") for line in said.split(b"\n")]
    for command in envelope:
        assert command.endswith(b"\r\n")
        assert command[:-2] in lines
    assert said.endswith(open_smtp.recorder.data)
