"""Who the client is: PROXY headers, their truth, and host names (reference 7.7, 8 and 10.4)."""

import socket
import struct
from collections.abc import Sequence

from case import ACCEPT, REJECT, Case
from cases_imap import BACKEND, IN
from support.script import CLOSED, Talk

IMAP = "* OK IMAP4 ready"
SMTP = "220 mail.example.com ESMTP ready"
V4 = "PROXY TCP4 192.0.2.1 192.0.2.9 1111 143"
V6 = "PROXY TCP6 2001:db8::1 2001:db8::9 1111 143"
NO = "a NO Invalid login or password"
BACKEND_AFTER_HEADER = (BACKEND[0], b"", *BACKEND[1:])
"""The header is a line that gets no reply."""
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(body: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


V4_BODY = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.9") + struct.pack("!HH", 1111, 143)
V6_BODY = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::9")
    + struct.pack("!HH", 1111, 143)
)


def told(name: str, header: str | bytes, server: str = "imap-proxied") -> Case:
    """A header that is taken, and a login that is refused."""
    talk: Talk = [(header, IMAP), ("a LOGIN user pass", NO)]
    return Case(f"PROXY: {name}", talk, auth=[REJECT], server=server, greeting=False)


def refused(name: str, header: str | bytes, server: str = "imap-proxied") -> Case:
    return Case(f"PROXY: {name}", [(header, CLOSED)], server=server, greeting=False)


def sent(name: str, header: str, server: str) -> Case:
    """A login, so that the backend sees what it is told."""
    talk: Talk = [(header, IMAP), ("a LOGIN user pass", IN)]
    return Case(
        f"PROXY: {name}", talk, auth=[ACCEPT], backend=BACKEND_AFTER_HEADER, server=server, greeting=False
    )


def named(name: str, address: str, *, server: str = "smtp-named") -> Case:
    """An SMTP client at this address: its name goes to the auth server and, by XCLIENT, to the backend."""
    family = "TCP6" if ":" in address else "TCP4"
    talk: Talk = [
        (f"PROXY {family} {address} {address} 1111 25", SMTP),
        ("EHLO cli", ("250-mail.example.com", "250 AUTH PLAIN LOGIN")),
        ("AUTH PLAIN AHVzZXIAcGFzcw==", "235 2.0.0 OK"),
    ]
    return Case(
        f"client name: {name}", talk, auth=[ACCEPT], server=server, greeting=False,
        backend=("220 hi", "250 ehlo", "220 xclient", "250 ehlo"),
    )  # fmt: skip


CASES: Sequence[Case] = [
    told("version 1", V4),
    told("version 1, IPv6", V6),
    told("version 1, addresses that are none", "PROXY TCP4 999.1.2.3 : 0 65535"),
    told("unknown", "PROXY UNKNOWN"),
    told("unknown with more behind it", "PROXY UNKNOWN ff::1 x y z"),
    told("version 2", v2(V4_BODY)),
    told("version 2, IPv6", v2(V6_BODY, family=0x21)),
    told("version 2 with more behind the addresses", v2(V4_BODY + b"\x04\0\1x")),
    told("version 2, local", v2(V4_BODY, command=0x20)),
    told("version 2, datagrams", v2(V4_BODY, family=0x12)),
    told("version 2, unix socket", v2(bytes(40), family=0x31)),
    told("believed", V4, "imap-believed"),
    told("believed, IPv6", V6, "imap-believed"),
    told("believed, version 2", v2(V6_BODY, family=0x21), "imap-believed"),
    told("believed, unknown", "PROXY UNKNOWN", "imap-believed"),
    told("believed, an address that is none", "PROXY TCP4 999.1.2.3 192.0.2.9 1 2", "imap-believed"),
    told("from one who is not believed", V4, "imap-disbelieved"),
    refused("none", "a LOGIN user pass"),
    refused("another word", "PROXIED TCP4 192.0.2.1 192.0.2.9 1111 143"),
    refused("no family", "PROXY 192.0.2.1 192.0.2.9 1111 143"),
    refused("port too high", "PROXY TCP4 192.0.2.1 192.0.2.9 1111 65536"),
    refused("port missing", "PROXY TCP4 192.0.2.1 192.0.2.9 1111"),
    refused("a name", "PROXY TCP4 mail.example.com 192.0.2.9 1111 143"),
    refused("a space behind it", "PROXY TCP4 192.0.2.1 192.0.2.9 1111 143 "),
    refused("version 3", v2(V4_BODY, command=0x31)),
    refused("version 2, too short for its addresses", v2(V4_BODY[:11])),
    sent("to the backend", "PROXY UNKNOWN", "imap-sends-proxy"),
    sent("to the backend, believed", V4, "imap-sends-proxy"),
    sent("to the backend, families mixed", V6, "imap-sends-proxy"),
    named("found", "192.0.2.1"),
    named("found, IPv6", "2001:db8::1"),
    named("none", "192.0.2.2"),
    named("leads elsewhere", "192.0.2.3"),
    named("leads nowhere", "192.0.2.4"),
    named("server fails", "192.0.2.5"),
    named("server fails at the second lookup", "192.0.2.6"),
    named("upper case", "192.0.2.7"),
    named("resolver off", "192.0.2.1", server="smtp-nameless"),
]
