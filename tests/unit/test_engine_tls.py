"""TLS between client and engine, on the descriptor: handshakes, STARTTLS, the relay, and every way to end."""

import contextlib
import os
import random
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.certificate import Certificate
from support.engine import TIMEOUT, HeldRig, Peer, Rig, let_in, ready, suffix, until
from support.keyupdate import HANDSHAKE, MESSAGE, KeyUpdates
from support.listener import PATIENCE

from fastmail._speedups import LISTEN_PROXY_PROTOCOL, LISTEN_SSL, TLSContext

LOGIN = b"a LOGIN user pass\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def context(certificate: Certificate) -> TLSContext:
    context = TLSContext()
    context.certificate(os.fsencode(certificate.path), os.fsencode(certificate.key))
    context.session_id_context()
    return context


def trusting(certificate: Certificate, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate.path)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def secured(peer: Peer, context: ssl.SSLContext) -> Peer:
    """The same connection, with TLS."""
    peer.socket = context.wrap_socket(peer.socket, server_hostname="auth.test")
    return peer


class Torn:
    """A TLS client whose every byte goes out, or comes in, by itself."""

    def __init__(self, peer: Peer, context: ssl.SSLContext, size: int) -> None:
        self.peer = peer
        self.size = size
        self.hold = False  # the last flight of the handshake
        self.left = 1 << 30  # bytes to be sent; then EOFError is raised
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="auth.test")
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _pump(self) -> None:
        said = self.outgoing.read()
        data = said[: self.left]
        self.left -= len(data)
        for at in range(0, len(data), self.size):
            self.peer.send(data[at : at + self.size])
        if len(data) < len(said):
            raise EOFError

    def _until(self, call: Callable[..., Any], *arguments: object) -> Any:
        while True:
            try:
                result = call(*arguments)
                if not self.hold:
                    self._pump()
                return result
            except ssl.SSLWantReadError:
                self._pump()
                data = self.peer.socket.recv(self.size)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def handshake(self) -> None:
        self._until(self.tls.do_handshake)

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), self.size):
            self._until(self.tls.write, data[at : at + self.size])

    def line(self) -> bytes:
        got = b""
        while not got.endswith(b"\n"):
            got += self._until(self.tls.read, 1)
        return got


@pytest.mark.parametrize("version", VERSIONS)
def test_imaps(certificate: Certificate, context: TLSContext, version: ssl.TLSVersion) -> None:
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = secured(rig.connect(), trusting(certificate, version))
        assert client.line() == b"* OK IMAP4 ready\r\n"
        client.send(b"x CAPABILITY\r\n" + LOGIN)
        assert client.line() == b"* CAPABILITY AUTH=PLAIN\r\n"
        assert client.line() == b"x OK completed\r\n"
        auth = rig.asked()
        name = {"TLSv1_2": b"TLSv1.2", "TLSv1_3": b"TLSv1.3"}[version.name]
        cipher = client.socket.cipher()[0].encode()  # type: ignore[attr-defined]
        assert (
            b"Auth-SSL: on\r\nAuth-SSL-Protocol: " + name + b"\r\nAuth-SSL-Cipher: " + cipher in auth.request
        )
        auth.send(rig.accepting())
        backend = rig.connected()
        let_in(client, backend)
        client.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"
        backend.send(b"b OK\r\n")
        backend.close()
        assert client.rest() == b"b OK\r\n"  # ssl raises if the end was not announced
        client.socket.unwrap()  # type: ignore[attr-defined]
        rig.quiet()
        rig.all_logged(f"[info] client logged in{suffix()}", f"[info] proxied session done{suffix()}")


@pytest.mark.parametrize("version", VERSIONS)
def test_command_behind_the_handshake(
    certificate: Certificate, context: TLSContext, version: ssl.TLSVersion
) -> None:
    """In one segment with the client's last words of the handshake: nothing else will bring an event."""
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = Torn(rig.connect(), trusting(certificate, version), 100_000)
        if version == ssl.TLSVersion.TLSv1_3:
            client.hold = True
        client.handshake()
        client.hold = False
        client.send(b"x NOOP\r\n")
        assert client.line() == b"* OK IMAP4 ready\r\n"
        assert client.line() == b"x OK completed\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("version", VERSIONS)
def test_torn(certificate: Certificate, context: TLSContext, version: ssl.TLSVersion, size: int) -> None:
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = Torn(rig.connect(), trusting(certificate, version), size)
        client.handshake()
        assert client.line() == b"* OK IMAP4 ready\r\n"
        client.send(LOGIN)
        rig.asked().send(rig.accepting())
        backend = rig.connected()
        backend.send(b"* OK hi\r\n")
        backend.line()
        backend.send(b"a OK in\r\n")
        assert client.line() == b"a OK in\r\n"
        client.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_handshake_that_ends_at_any_byte(
    certificate: Certificate, context: TLSContext, version: ssl.TLSVersion
) -> None:
    trusted = trusting(certificate, version)
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        size, done = 0, False
        while not done:
            client = Torn(rig.connect(), trusted, 100_000)
            client.left = size
            with contextlib.suppress(EOFError):
                client.handshake()
                done = True
            client.peer.close()
            size += 1
        assert size > 200  # what a client sends in a handshake
        rig.quiet()
        assert rig.stat("accepted") == size
        client = Torn(rig.connect(), trusted, 100_000)
        client.handshake()
        assert client.line() == b"* OK IMAP4 ready\r\n"


@pytest.mark.parametrize("options", [[], [(b"Options", b"KTLS")]])
@pytest.mark.parametrize("version", VERSIONS)
def test_certificates_that_find_no_room(
    certificate: Certificate, tmp_path: Path, version: ssl.TLSVersion, options: list[tuple[bytes, bytes]]
) -> None:
    """A chain that is longer than what both sockets hold."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate.path.read_bytes() * 100)
    context = TLSContext()
    context.certificate(os.fsencode(chain), os.fsencode(certificate.key))
    context.conf_commands(options, bytes)
    with Rig(tls=context, flags=LISTEN_SSL) as rig, socket.socket() as sock:
        rig.listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.connect(rig.listener.address[1])
        client = Torn(Peer(sock), trusting(certificate, version), 1000)
        client.handshake()
        assert client.line() == b"* OK IMAP4 ready\r\n"


@pytest.mark.parametrize("size", [1, 10, 100_000])
@pytest.mark.parametrize("version", VERSIONS)
def test_behind_a_proxy_header(
    certificate: Certificate, context: TLSContext, version: ssl.TLSVersion, size: int
) -> None:
    """It comes in clear, in one segment with the first bytes of the handshake or not."""
    with Rig(tls=context, flags=LISTEN_SSL | LISTEN_PROXY_PROTOCOL) as rig:
        client = Torn(rig.connect(), trusting(certificate, version), size)
        client.outgoing.write(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 993\r\n")
        client.handshake()
        assert client.line() == b"* OK IMAP4 ready\r\n"
        client.send(LOGIN)
        request = rig.asked().request
        assert b"Auth-SSL: on\r\n" in request and b"Proxy-Protocol-Addr: 192.0.2.7\r\n" in request


STARTTLS = {  # greeting, command, reply; then a command over TLS, and its reply
    "imap": (b"* OK IMAP4 ready", b"s STARTTLS", b"s OK completed", b"a NOOP", b"a OK completed"),
    "pop3": (b"+OK POP3 ready", b"STLS", b"+OK", b"NOOP", b"+OK"),
    "smtp": (b"220 mail.test ESMTP ready", b"STARTTLS", b"220 2.0.0 Start TLS", b"NOOP", b"250 2.0.0 OK"),
}


@pytest.mark.parametrize("protocol", STARTTLS)
def test_a1_a2_what_is_pipelined_behind_starttls_is_dropped(
    certificate: Certificate, context: TLSContext, protocol: str
) -> None:
    greeting, command, reply, after, answer = (line + b"\r\n" for line in STARTTLS[protocol])
    with Rig(protocol=protocol, tls=context, starttls="on") as rig:
        client = rig.connect()
        assert client.line() == greeting
        client.send(command + b"x BAD\r\nQUIT\r\nx LOGOUT\r\n")
        assert client.line() == reply
        secured(client, trusting(certificate))
        client.send(after)
        assert client.line() == answer
        client.socket.close()
        rig.quiet()
        assert rig.log() == []


def test_credentials_after_starttls_only(certificate: Certificate, context: TLSContext) -> None:
    with Rig(tls=context, starttls="only") as rig:
        client = rig.client()
        client.send(LOGIN + b"c CAPABILITY\r\ns STARTTLS\r\n")
        assert client.line() == b"a BAD [PRIVACYREQUIRED] Must issue a STARTTLS command first\r\n"
        assert client.line() == b"* CAPABILITY STARTTLS LOGINDISABLED\r\n"
        assert client.line() + client.line() == b"c OK completed\r\ns OK completed\r\n"
        secured(client, trusting(certificate))
        client.send(b"c CAPABILITY\r\n" + LOGIN)
        assert client.line() == b"* CAPABILITY AUTH=PLAIN\r\n"
        rig.asked().send(b"HTTP/1.0 200 OK\r\nAuth-Status: no way\r\n\r\n")
        assert client.rest() == b"c OK completed\r\na NO no way\r\n* BYE closing connection\r\n"
        rig.quiet()
        until(lambda: len(rig.log()) == 1)
        (line,) = rig.log()
        assert "client: 127.0.0.1 using starttls, server: " in line


def test_plain_text_sent_to_tls(context: TLSContext) -> None:
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = rig.connect()
        client.send(b"a LOGIN user pass\r\n")
        client.rest()
        rig.quiet()
        until(lambda: len(rig.log()) == 1)
        (line,) = rig.log()
        assert line.startswith("[info] SSL_do_handshake() failed (SSL: error:")
        assert line.endswith(f" while SSL handshaking{suffix('', '')}")


SSL2 = (
    b"\x80\x2e\1\3\1\0\x15\0\0\0\x10"
    + b"\0\0\x2f\0\0\x35\0\0\x0a\1\0\x80\7\0\xc0\3\0\x80\0\0\xff"
    + bytes(16)
)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "http request"),
        (b"CONNECT x:1 HTTP/1.0\r\n", "https proxy request"),
        (SSL2, "no shared cipher|unsupported protocol"),
        (b"\x16\3\1\x48\1abc", "(packet|data) length too long"),
        (b"\x15\3\1\0\2\1\0", "unexpected message"),
        (b"\x16\3\1\0\4\2\0\0\0", "unexpected message"),
        (b"\x16\3\1\0\1\1\x17\3\1\0\1\1", "unexpected message"),
        (b"\x16\4\1\0\4\1\0\0\0", "wrong version number"),
        (b"\x16\3\1\0\4\1\2\0\0" + bytes(100), "wrong version number"),
    ],
)
def test_what_is_no_client_hello(context: TLSContext, said: bytes, why: str) -> None:
    """It is refused at once, whatever it lacks to be one. OpenSSL 3.5 gives other reasons than 3.0."""
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = rig.connect()
        client.send(said)
        client.rest()
        rig.quiet()
        (line,) = rig.log()
        assert re.match(
            rf"\[info\] SSL_do_handshake\(\) failed \(SSL: error:\w+:SSL routines::({why})"
            r"( error:\w+:SSL routines::record layer failure)?\) while",
            line,
        )


def client_hello(context: ssl.SSLContext) -> tuple[bytes, ssl.SSLObject, ssl.MemoryBIO]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="auth.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read(), tls, incoming


@pytest.mark.parametrize("end", [-1, 100, 5, 1])
def test_client_that_leaves_within_its_hello(certificate: Certificate, context: TLSContext, end: int) -> None:
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = rig.connect()
        client.send(client_hello(trusting(certificate))[0][:end])
        client.shut()
        client.rest()
        rig.all_logged(
            f"[info] peer closed connection in SSL handshake while SSL handshaking{suffix('', '')}"
        )
        rig.quiet()


@pytest.mark.parametrize("size", [1, 3, 4, 100])
@pytest.mark.parametrize("pause", [False, True])
def test_hello_in_several_records(
    certificate: Certificate, context: TLSContext, size: int, pause: bool
) -> None:
    """RFC 8446 section 5.1 lets a client cut it anywhere."""
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        hello, tls, incoming = client_hello(trusting(certificate))
        body = hello[5:]
        records = [
            hello[:3] + len(body[at : at + size]).to_bytes(2) + body[at : at + size]
            for at in range(0, len(body), size)
        ]
        client = rig.connect()
        if pause:
            client.send(b"".join(records[:-1]))
            assert not ready(client.socket, 0.05)
            client.send(records[-1])
        else:
            client.send(b"".join(records))
        incoming.write(client.socket.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        assert tls.cipher() is not None


def test_memory_of_clients_that_only_begin(certificate: Certificate, context: TLSContext) -> None:
    """A part of a hello costs little; what whole ones have cost is given back once they are gone."""
    if "ASAN_OPTIONS" in os.environ:
        pytest.skip("the sanitizer has a malloc() of its own, which keeps what is freed")
    hello = client_hello(trusting(certificate))[0]
    count = 600
    with Rig(tls=context, flags=LISTEN_SSL, engine={"worker_connections": 2000}) as rig:

        def crowd(said: bytes) -> int:
            """How much more memory this process has meanwhile."""
            before = memory()
            clients = [rig.listener.connect() for _ in range(count)]
            for client in clients:
                client.send(said)
            if said == hello:
                for client in clients:
                    client.read(100)
            else:
                until(lambda: rig.stat("sessions") == count)
            used = memory() - before
            for client in clients:
                client.close()
            rig.quiet()
            return used

        part = crowd(hello[:-1])
        before = memory()
        whole = crowd(hello)
        assert whole > 4 * part
        until(lambda: memory() - before < whole / 2)


def memory() -> int:
    """kB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_client_that_leaves_before_the_handshake(context: TLSContext) -> None:
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        rig.connect().close()
        rig.logged(f"[info] peer closed connection in SSL handshake while SSL handshaking{suffix('', '')}")
        rig.quiet()


def test_silence_before_the_handshake(context: TLSContext) -> None:
    with Rig(tls=context, flags=LISTEN_SSL, timeout=50) as rig:
        assert rig.connect().rest() == b""
        rig.quiet()
        assert rig.log() == []


@pytest.mark.parametrize("starttls", [False, True])
def test_bytes_that_drip_in_do_not_renew_the_time(
    certificate: Certificate, context: TLSContext, starttls: bool
) -> None:
    flags = 0 if starttls else LISTEN_SSL
    with Rig(tls=context, flags=flags, timeout=TIMEOUT, starttls="on" if starttls else "off") as rig:
        client = rig.connect()
        if starttls:
            client.line()
            client.send(b"a STARTTLS\r\n")
            client.line()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(certificate).wrap_bio(incoming, outgoing, server_hostname="auth.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        client.socket.settimeout(0.02)
        ended = False
        for at in range(len(hello) - 1):
            try:
                client.send(hello[at : at + 1])
                ended = client.socket.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:  # it has closed while we sent
                ended = True
            break
        assert ended and at < len(hello) - 2
        rig.quiet()
        assert rig.log() == []


@pytest.fixture(params=["", "KTLS"])
def relayed(
    request: pytest.FixtureRequest, certificate: Certificate, context: TLSContext
) -> Iterator[tuple[Rig, Peer, Peer]]:
    """With kernel TLS where the kernel has it; it makes no difference to anybody."""
    context.conf_commands([(b"Options", os.fsencode(request.param))] if request.param else [], bytes)
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = secured(rig.connect(), trusting(certificate))
        client.line()
        client.send(LOGIN)
        rig.asked().send(rig.accepting())
        backend = rig.connected()
        let_in(client, backend)
        yield rig, client, backend


def test_megabytes_both_ways(relayed: tuple[Rig, Peer, Peer]) -> None:
    """Each side sends more than the sockets hold before the other reads."""
    _, client, backend = relayed
    data = random.Random(7).randbytes(8 << 20)
    for source, sink in ((backend, client), (client, backend)):
        thread = threading.Thread(target=source.send, args=(data,))
        thread.start()
        assert sink.read(len(data)) == data
        thread.join(PATIENCE)


def test_client_announces_its_end(relayed: tuple[Rig, Peer, Peer]) -> None:
    rig, client, backend = relayed
    client.send(b"b LOGOUT\r\n")
    client.socket.settimeout(PATIENCE)
    client.socket.unwrap()  # type: ignore[attr-defined]
    assert backend.rest() == b"b LOGOUT\r\n"
    rig.logged(f"[info] proxied session done{suffix()}")
    rig.quiet()


def test_client_that_goes_without_a_word(relayed: tuple[Rig, Peer, Peer]) -> None:
    rig, client, backend = relayed
    client.send(b"b LOGOUT\r\n")
    client.socket.shutdown(socket.SHUT_RDWR)
    assert backend.rest() == b"b LOGOUT\r\n"
    rig.logged(f"[info] proxied session done{suffix()}")
    rig.quiet()


def test_client_resets_while_its_backend_does_not_read(relayed: tuple[Rig, Peer, Peer]) -> None:
    rig, client, backend = relayed
    rig.stuff(client, backend)
    client.close(reset=True)
    rig.quiet()
    action = "while proxying and reading from client"
    rig.logged(f"[info] recv() failed (104: Connection reset by peer) {action}{suffix()}")


def test_record_that_is_none(relayed: tuple[Rig, Peer, Peer]) -> None:
    rig, client, backend = relayed
    os.write(client.socket.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
    assert backend.rest() == b""
    rig.quiet()
    until(lambda: len(rig.log()) == 3)
    assert rig.log()[-2].startswith("[info] SSL_read() failed (SSL: error:")


def test_backend_ends_while_the_client_does_not_read(relayed: tuple[Rig, Peer, Peer]) -> None:
    """Its last bytes, and the end's announcement behind them, wait until the client reads again."""
    rig, client, backend = relayed
    data = random.Random(8).randbytes(100_000)
    backend.send(data)
    backend.close()
    assert client.rest() == data
    client.close()
    rig.quiet()


def test_time_for_the_clients_own_end(certificate: Certificate, context: TLSContext) -> None:
    with Rig(tls=context, flags=LISTEN_SSL) as rig:
        client = secured(rig.connect(), trusting(certificate))
        client.line()
        client.send(b"a LOGOUT\r\n")
        assert client.rest() == b"* BYE\r\na OK completed\r\n"
        assert rig.stat("sessions") == 1
        client.close()
        rig.quiet()


# --- records without end that hold no data -------------------------------------------------------

FLOOD = 7000
"""KeyUpdates: more than are read of one peer before others have their turn."""
EXCESS = "peer sent too many TLS messages without data"


@pytest.fixture
def flooding(
    certificate: Certificate, context: TLSContext, tmp_path: Path
) -> Iterator[tuple[HeldRig, Peer, KeyUpdates]]:
    """A client in whose name KeyUpdates can be sent."""
    trust = trusting(certificate, ssl.TLSVersion.TLSv1_3)
    trust.keylog_filename = str(tmp_path / "keylog")
    with HeldRig(tls=context, flags=LISTEN_SSL) as rig:
        rig.listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # room for the flood
        client = secured(rig.connect(), trust)
        client.line()
        assert isinstance(client.socket, ssl.SSLSocket)
        yield rig, client, KeyUpdates(client.socket, tmp_path / "keylog")


def test_a25_key_updates_before_login(flooding: tuple[HeldRig, Peer, KeyUpdates]) -> None:
    rig, client, said = flooding
    for _ in range(3):
        said.send(60, b"x NOOP\r\n")  # which a library may have a reason for
        assert client.line() == b"x OK completed\r\n"
    said.send(FLOOD, b"x NOOP\r\n")
    assert client.rest() == b""
    rig.all_logged(f"[info] {EXCESS} while in auth state{suffix('', '')}")
    rig.quiet()


def test_a25_padded_key_updates_before_login(flooding: tuple[HeldRig, Peer, KeyUpdates]) -> None:
    """Of a whole record's size each: they count as much."""
    rig, client, said = flooding
    records = []
    for _ in range(100):
        records.append(said.record(MESSAGE, HANDSHAKE + bytes(16_000)))
        said.next_key()
    said.write(b"".join(records))
    assert client.rest() == b""
    rig.all_logged(f"[info] {EXCESS} while in auth state{suffix('', '')}")


def test_a25_one_byte_records(flooding: tuple[HeldRig, Peer, KeyUpdates]) -> None:
    rig, client, said = flooding
    said.write(b"".join(said.record(bytes([byte])) for byte in b"x NOOP\r\n" * 500))
    for _ in range(500):
        assert client.line() == b"x OK completed\r\n"
    data = random.Random(9).randbytes(FLOOD)
    backend = relaying(rig, client, said)
    said.write(b"".join(said.record(bytes([byte])) for byte in data))
    assert backend.read(len(data)) == data


def test_a25_a_message_that_has_begun(flooding: tuple[HeldRig, Peer, KeyUpdates]) -> None:
    """Nothing can be written until the rest of it has come."""
    _, client, said = flooding
    said.write(said.record(b"x NOOP\r\n") + said.record(MESSAGE[:4], HANDSHAKE))
    assert not ready(client.socket, 0.1)
    said.write(said.record(MESSAGE[4:], HANDSHAKE))
    assert client.line() == b"x OK completed\r\n"
    said.next_key()
    said.write(said.record(b"y NOOP\r\n"))
    assert client.line() == b"y OK completed\r\n"


@pytest.mark.parametrize("relayed", [False, True])
def test_what_is_wrong_behind_a_command(flooding: tuple[HeldRig, Peer, KeyUpdates], relayed: bool) -> None:
    """The log says why, even if the reply to the command is the first to meet it."""
    rig, client, said = flooding
    if relayed:
        backend = relaying(rig, client, said)
    said.write(said.record(b"x NOOP\r\n") + b"\x17\3\3\0\x20" + bytes(32))
    if relayed:
        assert backend.line() == b"x NOOP\r\n"
        assert backend.rest() == b""
    else:
        with contextlib.suppress(ssl.SSLError):  # the alert that it gets
            client.rest()
    rig.quiet()
    (line,) = [line for line in rig.log() if "SSL_" in line]
    assert re.match(r"\[info\] SSL_(read|write)\(\) failed \(SSL: error:0A000119:SSL routines::", line)


def relaying(rig: HeldRig, client: Peer, said: KeyUpdates) -> Peer:
    said.send(0, LOGIN)
    rig.asked().send(rig.accepting())
    backend = rig.connected()
    let_in(client, backend)
    return backend


def test_a25_key_updates_in_the_relay(
    flooding: tuple[HeldRig, Peer, KeyUpdates], certificate: Certificate
) -> None:
    """However many; others are served meanwhile."""
    rig, client, said = flooding
    other = secured(rig.connect(), trusting(certificate))
    other.line()
    said.send(0, LOGIN)
    rig.asked().send(rig.accepting())
    backend = rig.connected()
    backend.send(b"* OK\r\n")
    backend.line()
    backend.send(b"a OK in\r\n")
    client.line()
    with rig.held():
        said.send(FLOOD, b"b NOOP\r\n")
        client.shut()
        other.send(b"a AUTHENTICATE LOGIN !\r\n")
    assert backend.line() == b"b NOOP\r\n"
    assert backend.rest() == b""
    until(lambda: len(rig.log()) == 3)
    assert "AUTH LOGIN" in rig.log()[1] and "proxied session done" in rig.log()[2]


MUST_START_TLS = {
    "imap": b"a BAD [PRIVACYREQUIRED] Must issue a STARTTLS command first\r\n",
    "pop3": b"-ERR Must issue a STLS command first\r\n",
    "smtp": b"530 5.7.0 Must issue a STARTTLS command first\r\n",
}


@pytest.mark.parametrize(
    ("protocol", "command"),
    [
        ("imap", b"a LOGIN user pass\r\n"),
        ("imap", b"a LOGIN {4+}\r\nuser {4+}\r\npass\r\n"),
        ("imap", b"a AUTHENTICATE PLAIN\r\n"),
        ("pop3", b"USER user\r\n"),
        ("pop3", b"PASS pass\r\n"),
        ("pop3", b"AUTH\r\n"),
        ("pop3", b"AUTH PLAIN\r\n"),
        ("smtp", b"AUTH PLAIN\r\n"),
        ("smtp", b"AUTH\r\n"),
    ],
)
def test_credentials_before_starttls(context: TLSContext, protocol: str, command: bytes) -> None:
    """The client is told what to do; each counts as an error."""
    with Rig(protocol=protocol, tls=context, starttls="only", max_errors=2) as rig:
        client = rig.connect()
        client.line()
        client.send(command * 2)
        told = client.rest()
        assert told.startswith(MUST_START_TLS[protocol] * 2)
        assert told.count(b"\r\n") == (2 if protocol == "pop3" else 3)
        rig.quiet()


def test_mail_before_starttls(context: TLSContext) -> None:
    with Rig(protocol="smtp", tls=context, starttls="only") as rig:
        client = rig.connect()
        client.line()
        client.send(b"MAIL FROM:<a@b>\r\nQUIT\r\n")
        assert client.rest() == MUST_START_TLS["smtp"] + b"221 2.0.0 Bye\r\n"
        rig.quiet()


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
@pytest.mark.parametrize("secure", [False, True])
def test_silent_client_is_told(
    certificate: Certificate, context: TLSContext, protocol: str, secure: bool
) -> None:
    told = {
        "imap": b"* BYE timeout, closing connection\r\n",
        "pop3": b"",  # RFC 1939 section 3
        "smtp": b"421 4.4.2 mail.test timeout, closing connection\r\n",
    }
    greeting, command, reply, *_ = (line + b"\r\n" for line in STARTTLS[protocol])
    with Rig(protocol=protocol, tls=context, starttls="on", timeout=TIMEOUT) as rig:
        client = rig.connect()
        assert client.line() == greeting
        if secure:
            client.send(command)
            assert client.line() == reply
            secured(client, trusting(certificate))
            client.send({"imap": b"a NOOP\r\n", "pop3": b"NOOP\r\n", "smtp": b"NOOP\r\n"}[protocol])
            client.line()
        assert client.rest() == told[protocol]
        rig.quiet()
