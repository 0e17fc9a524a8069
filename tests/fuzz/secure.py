"""TLS of random peers: handshakes that are made, cut, torn or spoilt, and what may follow them."""

from __future__ import annotations

import itertools
import ssl
from pathlib import Path
from typing import Any, cast

from support.certificate import Certificate
from support.keyupdate import KeyUpdates

from fuzz.wire import Wire

STARTTLS = {"imap": b"s STARTTLS\r\n", "pop3": b"STLS\r\n", "smtp": b"STARTTLS\r\n"}
AGREED = (b"s OK", b"+OK", b"220")


class Secrets:
    """A certificate for the engine and the backends, and the contexts of both sides."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._certificate = Certificate(directory)
        self._certificate.key.chmod(0o644)  # the victim may be nobody
        self.files = [str(self._certificate.path), str(self._certificate.key)]
        self.server = self._certificate.server_context()
        self.client = self._client()
        self._numbers = itertools.count()

    def _client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._certificate.path)

    async def answer(self, wire: Wire) -> None:
        await wire.secure(self.server)

    async def greet(self, wire: Wire) -> None:
        await wire.secure(self.client, "auth.test")

    async def misgreet(self, wire: Wire) -> None:
        """A client's handshake that goes wrong, or that is followed by what no library sends."""
        choose = wire.random
        wire.world.count("hostile handshakes")
        fate = choose.randrange(6)
        if fate == 0:
            await self._key_updates(wire)
            return
        if fate == 1:
            await self.greet(wire)
            await wire.send_raw(
                choose.choice((b"", b"\x17\3\3\0\x20", b"\x15\3\3\0\2\2\0")) + choose.randbytes(50)
            )
            return
        hello = bytearray(client_hello(self.client))
        if fate == 2:
            del hello[choose.randrange(len(hello)) :]
        elif fate == 3:
            hello += choose.randbytes(choose.choice((1, 5, 300, 40_000)))
        elif fate == 4:
            for _ in range(choose.choice((1, 3, 10))):
                hello[choose.randrange(len(hello))] = choose.randrange(256)
        else:
            hello[:] = torn(bytes(hello), choose.choice((1, 2, 50)))
        await wire.send_pieces_raw(bytes(hello))

    async def _key_updates(self, wire: Wire) -> None:
        context = self._client()
        keylog = self._directory / f"keys{next(self._numbers)}"
        context.keylog_filename = str(keylog)
        try:
            tls = await wire.secure(context, "auth.test")
            updates = KeyUpdates(cast(Any, tls), keylog)
            await wire.send_raw(updates.records(wire.random.choice((1, 31, 33, 500)), b"NOOP\r\n"))
        finally:
            keylog.unlink(missing_ok=True)


def client_hello(context: ssl.SSLContext) -> bytes:
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="auth.test").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def torn(record: bytes, size: int) -> bytes:
    """A record's content in many records."""
    head, content = record[:3], record[5:]
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(head + len(piece).to_bytes(2) + piece for piece in pieces)
