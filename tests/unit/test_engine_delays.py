"""No login waits for a delayed acknowledgement: peers with Nagle's algorithm (RFC 896) write in pieces."""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.engine import Peer, Rig, descriptors
from support.network import own_network

LOGINS = 20


def delayed() -> int:
    """Acknowledgements that were sent late so far in this network (snmp_counter.rst: TcpExtDelayedACKs)."""
    lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(values[names.index("DelayedACKs")])


def pieces(peer: Peer, first: bytes, second: bytes) -> None:
    """Two writes; the kernel sends the second once the first has been acknowledged."""
    peer.send(first)
    peer.send(second)


def smtp_backend(rig: Rig) -> None:
    client = rig.client()
    for said in (b"EHLO c\r\n", b"MAIL FROM:<a@b>\r\n"):
        client.send(said)
        client.line()
    client.send(b"RCPT TO:<c@d>\r\n")
    rig.asked().send(rig.accepting())
    backend = rig.connected()
    backend.send(b"220 hi\r\n")
    backend.line()
    backend.send(b"250-me\r\n250 PIPELINING\r\n")
    assert backend.line() + backend.line() == b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
    pieces(backend, b"250 s\r\n", b"250 r\r\n")
    assert client.line() == b"250 r\r\n"


def pop3_backend(rig: Rig) -> None:
    client = rig.client()
    client.send(b"USER joe\r\n")
    client.line()
    client.send(b"PASS x\r\n")
    rig.asked().send(rig.accepting())
    backend = rig.connected()
    backend.send(b"+OK hi\r\n")
    backend.line()
    backend.line()
    pieces(backend, b"+OK u\r\n", b"+OK in\r\n")
    assert client.line() == b"+OK in\r\n"


def imap_backend(rig: Rig) -> None:
    client, backend = rig.backend_login()
    backend.send(b"* OK hi\r\n")
    backend.line()
    pieces(backend, b"* CAPABILITY X\r\n", b"a OK in\r\n")
    assert client.line() + client.line() == b"* CAPABILITY X\r\na OK in\r\n"


def client_command(rig: Rig) -> None:
    client = rig.client()
    client.send(b"a NOOP\r\n")
    client.line()
    pieces(client, b"b LOGIN user ", b"pass\r\n")
    rig.asked().close()
    client.line()


def kept_auth_server(rig: Rig) -> None:
    """Two logins over one connection; what answers the second comes in pieces."""
    first, auth = rig.ask()
    auth.send(rig.accepting("Content-Length: 0", head="HTTP/1.1 200 OK"))
    rig.connected()
    second = rig.client()
    second.send(b"a LOGIN user pass\r\n")
    auth.until(b"\r\n\r\n")
    answer = rig.accepting(head="HTTP/1.1 200 OK")
    pieces(auth, answer[:20], answer[20:])
    rig.connected().close()
    first.close()


def two_replies_at_once(rig: Rig) -> None:
    """A client that sends USER and PASS together gets the second reply without acknowledging the first."""
    client = rig.client()
    client.send(b"USER joe\r\nPASS x\r\n")
    client.line()
    rig.asked().send(b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\n\r\n")
    client.line()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
@pytest.mark.parametrize(
    ("login", "options"),
    [
        (smtp_backend, {"protocol": "smtp", "auth": ("none",), "xclient": False}),
        (pop3_backend, {"protocol": "pop3", "proxy_pipelining": True}),
        (imap_backend, {}),
        (client_command, {}),
        (kept_auth_server, {"auth_http_keepalive": 1}),
        (two_replies_at_once, {"protocol": "pop3"}),
    ],
)
def test_nobody_waits(login: Callable[[Rig], None], options: dict[str, Any]) -> None:
    """A busy machine may delay an acknowledgement as well: one prompt login is enough."""
    with own_network():
        for _ in range(LOGINS):
            before = delayed()
            with Rig(**options) as rig:
                login(rig)
            if delayed() == before:
                return
        pytest.fail("each login waited for an acknowledgement")


def backend_keepalive(rig: Rig) -> list[int]:
    """SO_KEEPALIVE of the engine's ends of its connections to the backend."""
    found = []
    for name in descriptors():
        if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
            continue
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as sock:
            if sock.getpeername() == rig.backend.address[1]:
                found.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    return found


@pytest.mark.directive("proxy_socket_keepalive")
@pytest.mark.parametrize("on", [False, True])
def test_proxy_socket_keepalive(on: bool) -> None:
    with Rig(proxy_socket_keepalive=on) as rig:
        rig.relay()
        assert backend_keepalive(rig) == [int(on)]
