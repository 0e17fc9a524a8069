"""PROXY headers, versions 1 and 2, as proxies write them and as none does."""

from __future__ import annotations

import random
import socket

from fuzz.wire import Wire

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FAMILIES = {socket.AF_INET: (b"TCP4", b"\x11"), socket.AF_INET6: (b"TCP6", b"\x21")}


def v2(kind: bytes, rest: bytes, command: bytes = b"\x21") -> bytes:
    return SIGNATURE + command + kind + len(rest).to_bytes(2) + rest


def valid(choose: random.Random, source: str) -> bytes:
    """One that names this client."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    word, kind = FAMILIES[family]
    port = choose.randrange(1, 65536)
    if choose.random() < 0.5:
        address = source.encode()
        return b"PROXY %b %b %b %d 143\r\n" % (word, address, address, port)
    packed = socket.inet_pton(family, source) * 2 + port.to_bytes(2) + b"\0\x8f"
    extra = choose.choice((0, 0, 1, 300))
    return v2(kind, packed + (b"\4" + extra.to_bytes(2) + bytes(extra) if extra else b""))


def address(choose: random.Random) -> str:
    return choose.choice((f"192.0.2.{choose.randrange(1, 255)}", f"2001:db8::{choose.randrange(1, 9999):x}"))


def hostile(choose: random.Random) -> bytes:
    """Cut, mixed, spoilt, or of a kind that says little."""
    one, two = valid(choose, address(choose)), valid(choose, address(choose))
    fate = choose.randrange(7)
    if fate == 0:
        return one[: choose.randrange(len(one))]
    if fate == 1:
        return one + two
    if fate == 2:
        return one[: choose.randrange(len(one))] + two[choose.randrange(len(two)) :]
    if fate == 3:
        spoilt = bytearray(one)
        for _ in range(choose.choice((1, 2, 5))):
            spoilt[choose.randrange(len(spoilt))] = choose.randrange(256)
        return bytes(spoilt)
    if fate == 4:
        odd = (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN " + b"x" * choose.choice((90, 93, 5000)) + b"\r\n")
        return choose.choice((*odd, b"PROXY TCP4 1 2 3 4\r\n", b"PROXY " + b"TCP4 " * 30))
    if fate == 5:
        rest = choose.randbytes(choose.choice((0, 1, 11, 12, 36, 216, 4079, 4080, 4081, 65535)))
        kinds = (b"\0", b"\x11", b"\x12", b"\x21", b"\x31", b"\xff")
        return v2(choose.choice(kinds), rest, choose.choice((b"\x20", b"\x21", b"\x22", b"\x31")))
    return v2(b"\x11", b"")[:14] + b"\xff\xff" + bytes(choose.choice((0, 11, 12, 100)))


async def read(wire: Wire) -> bytes:
    """What the engine says of its client to a backend."""
    start = await wire.read(6)
    if start == b"PROXY ":
        return start + await wire.until(b"\r\n")
    head = start + await wire.read(10)
    return head + await wire.read(int.from_bytes(head[14:]))
