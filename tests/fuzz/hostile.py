"""Peers that do anything at any time, to each other's sessions and to their own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import socket
from collections.abc import Sequence
from typing import Any

from fuzz import proxied
from fuzz.secure import AGREED, STARTTLS, Secrets
from fuzz.wire import MARK, Address, Wire, World

PROXY_PROTOCOL, SSL = 1, 2  # of a listener, see fastmail._speedups

LIMITS = (1, 2, 31, 32, 33, 34, 127, 128, 129, 255, 256, 257, 1000, 4094, 4095, 4096, 4097, 4098, 8192)
NUMBERS = (0, 1, 5, 4096, 65536, 2**31, 2**32, 2**32 + 5, 2**59, 2**63, 2**64, 2**64 + 3, 10**30)
ODD = (
    b"\0",
    b"\xff",
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"{3}\r\n",
    b"{3+}\r\n",
    b"%0d",
)


def mutate(choose: random.Random, data: bytes) -> bytes:
    """A few bytes changed, lost, doubled or put in."""
    text = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 5))):
        at = choose.randrange(len(text) + 1)
        kind = choose.randrange(5)
        if kind == 0:
            text[at:at] = choose.choice(ODD)
        elif kind == 1:
            del text[at : at + choose.choice((1, 2, 10))]
        elif kind == 2 and at < len(text):
            text[at] = choose.randrange(256)
        elif kind == 3:
            text[at:at] = text[max(0, at - choose.randrange(1, 50)) : at]
        else:
            text[at:at] = b"x" * choose.choice(LIMITS)
    return bytes(text)


def b64(data: bytes) -> bytes:
    return base64.b64encode(data)


def password(choose: random.Random) -> bytes:
    odd = b"".join(choose.choices(ODD, k=choose.choice((0, 0, 1, 3))))
    return choose.choice((b"", odd)) + MARK + choose.choice((b"", odd, b"x" * choose.choice(LIMITS)))


def sasl(choose: random.Random, verb: bytes) -> bytes:
    """An exchange with its responses pipelined."""
    secret = password(choose)
    plain = b64(b"\0user\0" + secret)
    return verb + choose.choice(
        (
            b" PLAIN " + plain,
            b" PLAIN\r\n" + plain,
            b" PLAIN\r\n" + b64(secret),
            b" PLAIN\r\n*",
            b" LOGIN\r\n" + b64(b"us\0er") + b"\r\n" + b64(secret),
            b" LOGIN " + b64(b"user") + b"\r\n" + b64(secret),
            b" CRAM-MD5\r\n" + b64(b"user " + b"0" * choose.choice((0, 31, 32, 33))),
            b" EXTERNAL\r\n" + b64(b"user"),
            b" EXTERNAL =",
            b" PLAIN =",
            b" FOO",
            b"",
        )
    )


def imap(choose: random.Random, size: int) -> bytes:
    tag = choose.choice((b"a", b"A.1-_", b"t" * choose.choice((31, 32, 33)), b""))
    secret = password(choose)
    room = size - len(tag) - 14 + choose.randrange(4)
    forms = (
        b"%b NOOP" % tag,
        b"%b CAPABILITY" % tag,
        b"%b LOGIN user %b" % (tag, MARK),
        b'%b login "us\\"er" "%b"' % (tag, secret.replace(b"\\", b"\\\\").replace(b'"', b'\\"')),
        b"%b LOGIN {4}\r\nuser {%d}\r\n%b" % (tag, len(secret), secret),
        b"%b LOGIN {4+}\r\nuser {%d+}\r\n%b" % (tag, len(secret), secret),
        b"%b LOGIN {%d}\r\nuser pass" % (tag, choose.choice(NUMBERS)),
        b"%b LOGIN {%d+}\r\nuser" % (tag, choose.choice(LIMITS)),
        b"%b LOGIN user %b" % (tag, MARK.ljust(max(len(MARK), room), b"x")),
        sasl(choose, tag + b" AUTHENTICATE"),
        b"%b LOGOUT" % tag,
        b"%b STARTTLS" % tag,
    )
    return choose.choice(forms)


def pop3(choose: random.Random, size: int) -> bytes:
    secret = password(choose).replace(b"\r", b"").replace(b"\n", b"")
    user = b"u" * max(1, size - 8 + choose.randrange(5)) if choose.random() < 0.2 else b"user name"
    forms = (
        b"USER %b\r\nPASS %b" % (user, secret),
        b"USER user\r\nPASS %b" % MARK,
        b"APOP user 0123456789abcdef0123456789abcdef",
        sasl(choose, b"AUTH"),
        b"CAPA",
        b"NOOP",
        b"QUIT",
        b"STLS",
        b"USER",
        b"PASS " + MARK,
    )
    return choose.choice(forms)


def smtp(choose: random.Random, size: int) -> bytes:
    name = b"c" * max(1, size - 7 + choose.randrange(5)) if choose.random() < 0.2 else b"client\0.test"
    forms = (
        b"EHLO " + name,
        b"HELO client",
        sasl(choose, b"AUTH"),
        sasl(choose, b"EHLO c\r\nAUTH"),
        b"MAIL FROM:<a\0b@c> SIZE=3\r\nRCPT TO:<d\te@f> X=\xff",
        b"RSET",
        b"NOOP",
        b"QUIT",
        b"STARTTLS",
        b"RCPT TO:<a>",
        b"VRFY x",
    )
    return choose.choice(forms)


SCRIPTS = {"imap": imap, "pop3": pop3, "smtp": smtp}


def script(choose: random.Random, protocol: str, size: int) -> bytes:
    """What a client says, spoilt or not, with more behind."""
    if choose.random() < 0.05:
        return choose.randbytes(choose.randrange(8000))
    lines = [SCRIPTS[protocol](choose, size) for _ in range(choose.choice((1, 1, 2, 4)))]
    if choose.random() < 0.05:
        lines[:0] = [b"a NOOP" if protocol == "imap" else b"NOOP"] * 3000
    text = b"".join(line + choose.choice((b"\r\n", b"\r\n", b"\r\n", b"\n")) for line in lines)
    if choose.random() < 0.3:
        text = mutate(choose, text)
    if choose.random() < 0.3:
        text += bytes(choose.choice((1, 1000, 70_000, 700_000)))
    return text


async def misbehave(wire: Wire, text: bytes) -> None:
    """Send it in some way, then stay or leave in another."""
    choose = wire.random
    if choose.random() < 0.2:
        text = text[: choose.randrange(len(text) + 1)]
    await wire.send_pieces(text)
    for _ in range(choose.randrange(4)):
        fate = choose.randrange(7)
        if fate == 0:
            wire.half_close()
        elif fate == 1:
            await wire.read_for(choose.random(), choose.choice((1, 100, 65536)))
        elif fate == 2:
            await wire.pause(1.0)  # neither reads nor writes
        elif fate == 3:
            await wire.send_pieces(choose.randbytes(choose.choice((1, 100, 200_000))))
        elif fate == 4:
            with contextlib.suppress(AttributeError):
                wire.socket.send(b"!", socket.MSG_OOB)
        else:
            await wire.read_for(0.1)


async def introduce(wire: Wire, server: dict[str, Any], secrets: Secrets) -> None:
    """What comes before the dialogue: a PROXY header and TLS, right or wrong."""
    choose = wire.random
    if choose.random() < (0.95 if server["listen"] & PROXY_PROTOCOL else 0.03):
        right = choose.random() < 0.6
        await wire.send_pieces(
            proxied.valid(choose, proxied.address(choose)) if right else proxied.hostile(choose)
        )
    if choose.random() < (0.95 if server["listen"] & SSL else 0.03):
        await (secrets.greet if choose.random() < 0.7 else secrets.misgreet)(wire)


async def start_tls(wire: Wire, protocol: str, secrets: Secrets) -> None:
    if protocol == "smtp":
        await wire.send_pieces(b"EHLO client\r\n")
    await wire.send_pieces(STARTTLS[protocol])
    while not (await wire.until(b"\n")).startswith(AGREED):
        pass
    await (secrets.greet if wire.random.random() < 0.7 else secrets.misgreet)(wire)


async def client(world: World, address: Address, server: dict[str, Any], secrets: Secrets) -> None:
    protocol, size = server["protocol"], server["client_buffer"]
    try:
        wire = await Wire.connect(world, address)
    except OSError:
        return
    choose = wire.random

    async def life() -> None:
        await introduce(wire, server, secrets)
        if choose.random() < 0.7:
            greeting = await wire.until(b"\n")
            if MARK in greeting:
                world.defect(f"a client was told a password: {greeting!r}")
            if server["starttls"] != "off" and choose.random() < 0.6:
                await start_tls(wire, protocol, secrets)
        for _ in range(choose.choice((1, 1, 2))):
            await misbehave(wire, script(choose, protocol, size))

    await wire.live(life())


# --- the auth server ------------------------------------------------------------------------------


def value(choose: random.Random) -> bytes:
    """Something that a header line can carry."""
    long = b"x" * choose.choice(LIMITS[:-4])
    odd = (b"", b"a\0b", b'a"\\b', b"\xff\xc3", b" x ", b"\tx", b"%0d%0a", b"{3}")
    return choose.choice((b"user", *odd, long))


def headers(choose: random.Random, backends: Sequence[Address]) -> list[bytes]:
    family, address = choose.choice(backends)
    if family == socket.AF_UNIX:
        lines = [b"Auth-Server: unix:" + str(address).encode()]
    else:
        lines = [b"Auth-Server: " + address[0].encode(), b"Auth-Port: %d" % address[1]]
    lines.insert(0, b"Auth-Status: OK")
    wrong = (b"::1", b"unix:", b"unix:/nowhere", b"unix:" + b"x" * 107, b"1.2.3.4.5", b"")
    extra = (
        b"Auth-Pass: " + value(choose),
        b"Auth-User: " + value(choose),
        b"Auth-Wait: %d" % choose.choice((0, 0, 0, 1, 2**64)),
        b"Auth-Status: " + choose.choice((b"WAIT", b"no", b"", b"\0")),
        b"Auth-Error-Code: " + value(choose),
        b"Content-Length: %d" % choose.choice((0, 0, 3, 5000, *NUMBERS)),
        b"Transfer-Encoding: chunked",
        b"Connection: " + choose.choice((b"close", b"keep-alive")),
        b"Auth-Server: " + choose.choice(wrong),
        b"Auth-Port: " + choose.choice((b"0", b"1", b"65535", b"65536", b"-1", b"99999999999", b"")),
        b"X: " + b"x" * choose.choice((10, 1000, 3000)),
    )
    if choose.random() < 0.6:
        lines += choose.sample(extra, choose.choice((1, 1, 2, 4)))
    if choose.random() < 0.1:
        choose.shuffle(lines)
    return lines


def answer(choose: random.Random, backends: Sequence[Address]) -> bytes:
    fate = choose.random()
    if fate < 0.03:
        return choose.randbytes(choose.randrange(6000))
    head = choose.choice((b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 204 x"))
    lines = [head, *headers(choose, backends)]
    body = bytes(choose.choice((0, 0, 0, 1, 3, 1023, 1024, 1025, 5000)))
    if fate < 0.6:
        lines.append(b"Content-Length: %d" % len(body))
    elif fate < 0.7:  # at the limit of what is read, to the byte
        used = sum(len(line) + 2 for line in lines) + 2
        lines.append(b"X-Pad: ".ljust(max(7, 4094 - used + choose.choice((0, 1, -1))), b"x"))
    end = choose.choice((b"\r\n", b"\r\n", b"\n"))
    text = end.join([*lines, b"", b""]) + body
    if fate > 0.95:
        return mutate(choose, text)
    return text * 2 if fate > 0.93 else text


class Hostile:
    """Auth servers and backends for a round's hostile servers."""

    def __init__(self, world: World, backends: dict[str, list[Address]], secrets: Secrets) -> None:
        self._world = world
        self._secrets = secrets
        self._backends = backends

    async def auth(self, wire: Wire, protocol: str) -> None:
        choose = wire.random
        for _ in range(choose.choice((1, 5, 50))):
            if choose.random() < 0.95:
                await wire.until(b"\r\n\r\n")
            self._world.count("auth requests")
            fate = choose.random()
            if fate < 0.85:
                await wire.send_pieces(answer(choose, self._backends[protocol]))
            elif fate < 0.9:
                await wire.pause(0.6)
            else:
                await misbehave(wire, answer(choose, self._backends[protocol]))
            if choose.random() < 0.1:
                return

    async def _introduced(self, wire: Wire) -> None:
        """Hear what an engine says that speaks first: a PROXY header, a TLS handshake."""
        for _ in range(2):
            if not wire.received():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await wire.fill()
            if wire.received().startswith((b"PROXY ", proxied.SIGNATURE)):
                await proxied.read(wire)
                self._world.count("PROXY headers to backends")
            elif wire.received().startswith(b"\x16"):
                if wire.random.random() < 0.8:
                    await self._secrets.answer(wire)
                    self._world.count("TLS backends")
                return

    async def backend(self, wire: Wire, protocol: str) -> None:
        choose = wire.random
        if choose.random() < 0.05:
            return
        if choose.random() < 0.9:
            await self._introduced(wire)
        greeting, reply, ends = {
            "imap": (b"* OK hi\r\n", b"+ go\r\n", b"a OK in\r\n"),
            "pop3": (b"+OK hi\r\n", b"+OK\r\n", b""),
            "smtp": (b"220 hi\r\n", b"250-a\r\n250 b\r\n", b"235 in\r\n"),
        }[protocol]
        if choose.random() < 0.5:
            greeting = greeting.replace(b"* OK", b"* OK [CAPABILITY LITERAL+]")
            reply = reply.replace(b"250 b", b"250 PIPELINING")
        if choose.random() < 0.5:
            reply = reply.replace(b"250-a", b"250-STARTTLS")
        if choose.random() < 0.3:  # without listening
            text = greeting + reply * choose.randrange(6) + ends
            await misbehave(wire, text if choose.random() < 0.7 else mutate(choose, text))
            return
        await wire.send_pieces(greeting)
        for _ in range(6):
            line = await wire.until(b"\n")
            if b"STARTTLS" in line or b"STLS" in line:
                go = {"imap": line.partition(b" ")[0] + b" OK\r\n", "pop3": b"+OK\r\n", "smtp": b"220 go\r\n"}
                await wire.send_pieces(go[protocol] + choose.choice((b"", b"", b"", b"x")))
                await self._secrets.answer(wire)
                self._world.count("TLS backends")
                continue
            if b"CAPA" in line:
                offer = b"+OK\r\nSTLS\r\n.\r\n"
                if protocol == "imap":
                    offer = b"* CAPABILITY STARTTLS\r\n" + line.partition(b" ")[0] + b" OK\r\n"
                await wire.send_pieces(offer if choose.random() < 0.9 else mutate(choose, offer))
                continue
            if protocol == "imap" and not line.endswith(b"}\r\n"):
                tag = line.partition(b" ")[0]
                if MARK in tag:  # the line is a literal's end
                    tag = b"a"
                reply = choose.choice((b"", b"* x\r\n")) + tag + b" OK in\r\n"
            elif protocol == "smtp" and choose.random() < 0.1:
                reply = b"235 in\r\n"
            await wire.send_pieces(reply if choose.random() < 0.95 else mutate(choose, reply))
            if choose.random() < 0.3:
                break
        self._world.count("backend logins")
        await misbehave(wire, choose.randbytes(choose.choice((0, 10, 70_000, 1_000_000))))
