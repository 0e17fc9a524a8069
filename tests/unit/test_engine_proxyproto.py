"""PROXY headers, from clients and to backends, over real sockets."""

import os
import socket
import ssl
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import INTERNAL, BothFamilies, Rig, until
from support.pki import PKI

from fastmail._speedups import LISTEN_PROXY_PROTOCOL, LISTEN_SSL, TLSContext, proxy_header

LOGIN = b"a LOGIN user pass\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack("!HH", 1111, 143)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 1111, 143)
)
KNOWN4 = (b"192.0.2.1", 1111, b"192.0.2.2", 143)
KNOWN6 = (b"2001:db8::1", 1111, b"2001:db8::2", 143)


def v2(body: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


HEADERS = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 143\r\n", "done", KNOWN4),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 1111 143\r\n", "done", KNOWN6),
    (b"PROXY TCP4 999.1.2.3 : 0 65535\r\n", "done", (b"999.1.2.3", 0, b":", 65535)),
    (b"PROXY UNKNOWN\r\n", "done", None),
    (b"PROXY UNKNOWN whatever it says\r\n", "done", None),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 65536\r\n", "broken", None),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 143\n", "broken", None),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 143 \r\n", "broken", None),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1111\r\n", "broken", None),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2  143\r\n", "broken", None),
    (b"PROXY TCP5 192.0.2.1 192.0.2.2 1111 143\r\n", "broken", None),
    (b"PROXY TCP4 mail.test 192.0.2.2 1111 143\r\n", "broken", None),
    (b"PROXY \r\n", "broken", None),
    (b"GET / HTTP/1.0\r\n", "broken", None),
    (b"\n", "broken", None),
    (b"PROXY TCP4 " + bytes(4085), "broken", None),
    (v2(V4), "done", KNOWN4),
    (v2(V4 + b"\x04\0\1x"), "done", KNOWN4),
    (v2(V6, family=0x21), "done", KNOWN6),
    (v2(V4, command=0x20), "done", None),
    (v2(V4, family=0x12), "done", None),
    (v2(b"/path", family=0x31), "done", None),
    (v2(V4[:11]), "short", None),
    (v2(V6[:35], family=0x21), "short", None),
    (v2(V4, command=0x11), "version", None),
    (v2(bytes(4081)), "large", None),
]


@pytest.mark.parametrize(("header", "outcome", "known"), HEADERS)
def test_header(header: bytes, outcome: str, known: tuple[bytes, int, bytes, int] | None) -> None:
    """The rest, and what follows, makes no difference; an unfinished one waits for the rest."""
    for behind in (b"", b"a NOOP\r\n"):
        parsed, size, addresses = proxy_header(header + behind)
        assert (parsed, addresses) == (outcome, known)
        if outcome == "done":
            assert size == len(header)
    if outcome == "done":
        for at in range(1, len(header)):
            assert proxy_header(header[:at])[0] == "more"


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]),
)
def test_any_bytes(data: bytes, start: bytes) -> None:
    parsed, size, _ = proxy_header(start + data)
    assert parsed != "done" or 0 < size <= len(start + data)


@given(
    st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 65535), st.integers(0, 65535)
)  # fmt: skip
def test_both_versions_say_the_same(source: object, to: object, port: int, to_port: int) -> None:
    body = socket.inet_aton(str(source)) + socket.inet_aton(str(to)) + struct.pack("!HH", port, to_port)
    line = f"PROXY TCP4 {source} {to} {port} {to_port}\r\n".encode()
    assert proxy_header(v2(body))[2] == proxy_header(line)[2]


def client_line(address: str, text: str, level: str = "error") -> str:
    return f"[{level}] {text} while reading PROXY protocol, client: {address}, server: mail.test:143"


@pytest.mark.directive("proxy_protocol")
@pytest.mark.parametrize("cuts", [(), (1,), (5, 12), (15, 16, 17)])
@pytest.mark.parametrize("header", [HEADERS[0][0], v2(V4)])
def test_told_by_a_proxy_in_front(header: bytes, cuts: tuple[int, ...]) -> None:
    with Rig(flags=LISTEN_PROXY_PROTOCOL) as rig:
        client = rig.connect()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = header + LOGIN
        for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            client.send(data[start:end])
        assert client.line() == b"* OK IMAP4 ready\r\n"
        request = rig.asked().request
        assert b"\r\nClient-IP: 127.0.0.1\r\n" in request  # not trusted: only told on
        assert (
            b"\r\nProxy-Protocol-Addr: 192.0.2.1\r\nProxy-Protocol-Port: 1111\r\n"
            b"Proxy-Protocol-Server-Addr: 192.0.2.2\r\nProxy-Protocol-Server-Port: 143\r\n"
        ) in request


def test_nothing_told() -> None:
    with Rig(flags=LISTEN_PROXY_PROTOCOL) as rig:
        client = rig.connect()
        client.send(b"PROXY UNKNOWN\r\n" + LOGIN)
        client.line()
        assert b"Proxy-Protocol" not in rig.asked().request


def network(address: str, bits: int) -> tuple[int, bytes, int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address), bits


@pytest.mark.directive("set_real_ip_from")
@pytest.mark.parametrize(
    ("networks", "header", "address"),
    [
        ([network("127.0.0.0", 8)], HEADERS[0][0], b"192.0.2.1"),
        ([network("10.0.0.0", 8), network("127.0.0.1", 32)], v2(V6, family=0x21), b"2001:db8::1"),
        ([network("0.0.0.0", 0)], HEADERS[0][0], b"192.0.2.1"),
        ([network("127.0.0.2", 32), network("::1", 128), network("::", 0)], HEADERS[0][0], b"127.0.0.1"),
        ([network("127.0.0.1", 32)], HEADERS[2][0], b"127.0.0.1"),  # no address: ignored
        ([network("127.0.0.1", 32)], b"PROXY UNKNOWN\r\n", b"127.0.0.1"),
    ],
)
def test_believed(networks: list[tuple[int, bytes, int]], header: bytes, address: bytes) -> None:
    with Rig(flags=LISTEN_PROXY_PROTOCOL, set_real_ip_from=networks) as rig:
        client = rig.connect()
        client.send(header + LOGIN)
        client.line()
        auth = rig.asked()
        assert b"\r\nClient-IP: " + address + b"\r\n" in auth.request
        auth.send(b"Auth-Status: no\r\n\r\n")
        client.rest()
        until(lambda: len(rig.log()) == 1)
        assert f", client: {address.decode()}, server: " in rig.log()[0]


@pytest.mark.parametrize(
    ("sent", "lines"),
    [
        (b"HELP\r\nQUIT\r\n", [client_line("127.0.0.1", 'broken header: "HELP"')]),
        (b"\x16\x03\x01\x02", [client_line("127.0.0.1", 'broken header: "\\x16\\x03\\x01\\x02"')]),
        (b"a LOGIN joe secret\r\n", [client_line("127.0.0.1", 'broken header: "a LOGIN" (rest not shown)')]),
        (b"joe secret\r\n", [client_line("127.0.0.1", 'broken header: "joe" (rest not shown)')]),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 143a LOGIN joe secret\r\n",
            [
                client_line(
                    "127.0.0.1", 'broken header: "PROXY TCP4 192.0.2.1 192.0.2.2 1111" (rest not shown)'
                )
            ],
        ),
        (
            b"PROXY joe secret\r\n",
            [client_line("127.0.0.1", 'broken header: "PROXY" (rest not shown)')],
        ),
        (
            b"PROXY TCP4 mail.test 192.0.2.2 1111 143\r\n",
            [client_line("127.0.0.1", 'broken header: "PROXY TCP4 mail.test 192.0.2.2 1111 143"')],
        ),
        (v2(V4, command=0x11), [client_line("127.0.0.1", "unknown PROXY protocol version: 1")]),
        (v2(bytes(5000)), [client_line("127.0.0.1", "header is too large")]),
        (v2(b""), []),
    ],
)
def test_refused(sent: bytes, lines: list[str]) -> None:
    with Rig(flags=LISTEN_PROXY_PROTOCOL) as rig:
        client = rig.connect()
        client.send(sent)
        assert client.rest() == b""
        rig.quiet()
        rig.all_logged(*lines)


def test_no_header_in_time() -> None:
    with Rig(flags=LISTEN_PROXY_PROTOCOL, timeout=50) as rig:
        client = rig.connect()
        client.send(b"PROXY TCP4 ")
        assert client.rest() == b""
        rig.logged(client_line("127.0.0.1", "client timed out (110: Connection timed out)", "info"))


def test_client_that_leaves_within_its_header() -> None:
    with Rig(flags=LISTEN_PROXY_PROTOCOL) as rig:
        client = rig.connect()
        client.send(b"PROXY TCP4 ")
        client.shut()
        assert client.rest() == b""
        rig.quiet()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 gives no shorter check than 32 bytes; this one is common


def backend_header(rig: Rig, header: bytes = b"") -> tuple[bytes, int]:
    """What the backend is sent before it has said a word; the client's port."""
    client = rig.connect()
    client.send(header + LOGIN)
    client.line()
    rig.asked().send(rig.accepting())
    backend = rig.connected()
    start = backend.read(13)
    if start.startswith(b"PROXY"):
        told = start + backend.line()
    else:
        told = start + backend.read(3)
        told += backend.read(struct.unpack("!H", told[14:])[0])
    backend.send(b"* OK hi\r\n")
    assert backend.line() == b'a LOGIN "user" "pass"\r\n'
    name = client.socket.getsockname()
    return told, name[1] if name else 0


@pytest.mark.directive("proxy_protocol")
def test_version_1_for_the_backend() -> None:
    with Rig(proxy_protocol=1) as rig:
        told, port = backend_header(rig)
        listen = rig.listener.address[1][1]
        assert told == f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {listen}\r\n".encode()


def test_version_2_for_the_backend() -> None:
    with Rig(proxy_protocol=2) as rig:
        told, port = backend_header(rig)
        listen = rig.listener.address[1][1]
        both = socket.inet_aton("127.0.0.1") * 2 + struct.pack("!HH", port, listen)
        head = SIGNATURE + b"\x21\x11\0\x13" + both + b"\x03\0\x04"
        assert told == head + struct.pack("!I", crc32c(head + bytes(4)))


BELIEVED = {"flags": LISTEN_PROXY_PROTOCOL, "set_real_ip_from": [network("127.0.0.1", 32)]}


def test_families_mixed() -> None:
    """One family a header: Dovecot, Postfix and HAProxy refuse one of two."""
    options = BELIEVED
    with Rig(proxy_protocol=1, **options) as rig:  # type: ignore[arg-type]
        told, _ = backend_header(rig, HEADERS[1][0])
        listen = rig.listener.address[1][1]
        assert told == f"PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 1111 {listen}\r\n".encode()
    with Rig(proxy_protocol=2, **options) as rig:  # type: ignore[arg-type]
        told, _ = backend_header(rig, HEADERS[1][0])
        mapped = socket.inet_pton(socket.AF_INET6, "::ffff:127.0.0.1")
        assert told[12:16] == b"\x21\x21\0\x2b"
        assert told[16:48] == socket.inet_pton(socket.AF_INET6, "2001:db8::1") + mapped


@pytest.mark.parametrize(
    ("client", "addresses"),
    [
        ("192.0.2.1", "TCP6 ::ffff:192.0.2.1 ::1"),
        ("::ffff:192.0.2.1", "TCP6 ::ffff:192.0.2.1 ::1"),
        ("2001:db8::1", "TCP6 2001:db8::1 ::1"),
    ],
)
def test_client_in_front_of_an_ipv6_listener(client: str, addresses: str) -> None:
    family = "TCP6" if ":" in client else "TCP4"
    options = BELIEVED | {"set_real_ip_from": [network("::1", 128)]}
    with Rig(proxy_protocol=1, family=socket.AF_INET6, **options) as rig:  # type: ignore[arg-type]
        told, _ = backend_header(rig, f"PROXY {family} {client} {client} 1111 143\r\n".encode())
        listen = rig.listener.address[1][1]
        assert told == f"PROXY {addresses} 1111 {listen}\r\n".encode()


@pytest.mark.parametrize(
    ("client", "addresses"),
    [
        ("192.0.2.1", "TCP4 192.0.2.1 127.0.0.1"),
        ("::ffff:192.0.2.1", "TCP6 ::ffff:192.0.2.1 ::ffff:127.0.0.1"),
    ],
)
def test_client_of_a_listener_for_both_families(client: str, addresses: str) -> None:
    """Its own address is a mapped one there; what came as IPv4 stays so."""
    family = "TCP6" if ":" in client else "TCP4"
    with Rig(proxy_protocol=1, listener=BothFamilies, **BELIEVED) as rig:  # type: ignore[arg-type]
        told, _ = backend_header(rig, f"PROXY {family} {client} {client} 1111 143\r\n".encode())
        listen = rig.listener.address[1][1]
        assert told == f"PROXY {addresses} 1111 {listen}\r\n".encode()


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_in_front_on_a_unix_socket(tmp_path: Path, version: int) -> None:
    """The proxy in front says where the client has connected to."""
    options = BELIEVED | {"set_real_ip_from": [(socket.AF_UNIX, b"", 0)]}
    options |= {"family": socket.AF_UNIX, "directory": tmp_path, "proxy_protocol": version}
    with Rig(**options) as rig:  # type: ignore[arg-type]
        told, _ = backend_header(rig, b"PROXY TCP4 192.0.2.1 198.51.100.9 1111 143\r\n")
        if version == 1:
            assert told == b"PROXY TCP4 192.0.2.1 198.51.100.9 1111 143\r\n"
        else:
            addresses = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.9")
            assert told[12:28] == b"\x21\x11\0\x13" + addresses + struct.pack("!HH", 1111, 143)
        told, _ = backend_header(rig, b"PROXY UNKNOWN\r\n")
        assert told[:15] == b"PROXY UNKNOWN\r\n" if version == 1 else told[12:16] == b"\x20\0\0\x07"


def test_backend_that_refuses_before_the_header() -> None:
    with Rig(proxy_protocol=1) as rig:
        client, auth = rig.ask()
        answer = rig.accepting()
        rig.backend.refuse()
        auth.send(answer)
        assert client.rest() == INTERNAL
        until(lambda: len(rig.log()) == 1)
        action = "sending PROXY protocol header to upstream"
        assert rig.log()[0].startswith(f"[error] send() failed (111: Connection refused) while {action}, ")


def tlvs(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        kind, size = struct.unpack("!BH", data[:3])
        found.append((kind, data[3 : 3 + size]))
        data = data[3 + size :]
    return found


@pytest.mark.parametrize("shown", [False, True])
def test_tls_of_the_client_for_the_backend(tmp_path: Path, shown: bool) -> None:
    """Name, ALPN, and what TLS and certificate are (reference 7.7)."""
    pki = PKI(tmp_path / "pki")
    context = TLSContext()
    context.certificate(os.fsencode(pki.server_rsa.certificate), os.fsencode(pki.server_rsa.key))
    context.alpn(b"imap")
    context.verify_client("optional", 1)
    context.client_certificate(os.fsencode(pki.ca.path))
    context.session_id_context()
    client_context = ssl.create_default_context(cafile=pki.ca.path)
    client_context.set_alpn_protocols(["imap"])
    if shown:
        client_context.load_cert_chain(pki.client.certificate, pki.client.key)
    with Rig(proxy_protocol=2, tls=context, flags=LISTEN_SSL) as rig:
        client = rig.connect()
        client.socket = secured = client_context.wrap_socket(client.socket, server_hostname="mail.test")
        cipher = secured.cipher() or ("", "", 0)
        client.line()
        client.send(LOGIN)
        rig.asked().send(rig.accepting())
        backend = rig.connected()
        head = backend.read(16)
        rest = backend.read(struct.unpack("!H", head[14:])[0])
    assert crc32c(head + rest[:-4] + bytes(4)) == struct.unpack("!I", rest[-4:])[0]
    authority, alpn, tls, crc = tlvs(rest[12:])
    assert (authority, alpn) == ((2, b"mail.test"), (1, b"imap"))
    assert (tls[0], crc[0]) == (0x20, 3)
    assert tls[1][:5] == (b"\7\0\0\0\0" if shown else b"\1\0\0\0\1")
    parts = tlvs(tls[1][5:])
    name = [(0x22, b"client.test")] if shown else []
    # an RSA key, signed by an authority with EC
    own = [(0x24, b"ecdsa-with-SHA256"), (0x25, b"RSA2048")]
    assert parts == [(0x21, b"TLSv1.3"), *name, (0x23, cipher[0].encode()), *own]
