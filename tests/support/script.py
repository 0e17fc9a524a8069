"""A client that plays a table of dialogue over a raw socket and keeps every byte it receives."""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from support.closing import Closing
from support.listener import PATIENCE
from support.ports import HOST


class Act(Enum):
    """Steps of a dialogue that are not bytes."""

    CLOSED = "closed"
    """Expect: the proxy ends the connection."""
    SHUT = "shut"
    """Send: end our direction of the connection (FIN), still reading."""
    VANISH = "vanish"
    """Send: reset the connection."""


@dataclass(frozen=True)
class TLS:
    """Send: the handshake, as a client with this context; ``received`` has REFUSED if it fails."""

    context: ssl.SSLContext
    name: str = "mail.test"


REFUSED = "<TLS refused>"

CLOSED = Act.CLOSED
SHUT = Act.SHUT
VANISH = Act.VANISH

Send = bytes | str | float | Act | TLS | None
Expect = bytes | str | Act | None
Talk = Sequence[tuple[Send | tuple[Send, ...], Expect | tuple[Expect, ...]]]
"""Pairs of what the client sends and what it then waits for.

A str is a line to which CR LF is added, bytes are taken as they are, a float is a pause in seconds; a tuple
is several of them, None is nothing.
"""


def wire(value: bytes | str) -> bytes:
    """The bytes that a table's entry stands for."""
    return value.encode("latin-1") + b"\r\n" if isinstance(value, str) else value


class Client(Closing):
    """A connection to a proxy. ``received`` is everything that came, ``closed`` whether the proxy has closed,
    ``kept_open`` whether it did not although the table expected so."""

    def __init__(self, port: int, *, patience: float = PATIENCE) -> None:
        self.received = bytearray()
        self.closed = False
        self.kept_open = False
        self._socket = socket.create_connection((HOST, port), patience)
        self._patience = patience
        self._taken = 0

    def send(self, data: Send) -> None:
        """Do one sending step; that the proxy has gone shows at the next expectation."""
        if isinstance(data, float):
            time.sleep(data)
        elif data is VANISH:
            self.close(reset=True)
        elif data is not None:
            with contextlib.suppress(OSError):
                if data is SHUT:
                    socket.socket.shutdown(self._socket, socket.SHUT_WR)  # of the connection, not of TLS
                elif isinstance(data, TLS):
                    self._secure(data)
                elif not isinstance(data, Act):
                    self._socket.sendall(wire(data))

    def _secure(self, tls: TLS) -> None:
        try:
            self._socket = tls.context.wrap_socket(self._socket, server_hostname=tls.name)
        except OSError:
            self.received += wire(REFUSED)
            self.closed = True

    def flood(self, data: bytes, seconds: float) -> None:
        """Send it over and over, until the proxy closes (see ``closed``) or takes nothing for the seconds."""
        self._socket.settimeout(seconds)
        try:
            while True:
                self._socket.send(data)
        except TimeoutError:
            return
        except OSError:
            self.closed = True

    def lines(self, count: int) -> bytes:
        """Up to ``count`` lines: fewer if the proxy closes or stays silent for the patience."""
        while self._pending().count(b"\n") < count and self._fill():
            pass
        lines = self._pending().splitlines(keepends=True)[:count] if count else []
        return self._take(sum(map(len, lines)))

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes: fewer if the proxy closes or stays silent for the patience."""
        while len(self._pending()) < size and self._fill():
            pass
        return self._take(size)

    def rest(self) -> bytes:
        """Everything until the proxy closes (see ``closed``) or stays silent for the patience."""
        while self._fill():
            pass
        return self._take(len(self._pending()))

    def play(self, talk: Talk) -> None:
        """Run through the table. What is received is not judged, only waited for: by lines or by size."""
        for sends, expects in talk:
            for send in sends if isinstance(sends, tuple) else (sends,):
                self.send(send)
            for expect in expects if isinstance(expects, tuple) else (expects,):
                if expect is CLOSED:
                    self.rest()
                    self.kept_open |= not self.closed
                elif isinstance(expect, (bytes, str)):
                    data = wire(expect)
                    self.lines(data.count(b"\n")) if data.endswith(b"\n") else self.read(len(data))

    def finish(self) -> bytes:
        """End our direction, take what still comes until the proxy closes too."""
        self.send(SHUT)
        return self.rest()

    def close(self, *, reset: bool = False) -> None:
        """Leave at once; with a RST if so asked."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _pending(self) -> bytes:
        return bytes(self.received[self._taken :])

    def _take(self, size: int) -> bytes:
        data = bytes(self.received[self._taken : self._taken + size])
        self._taken += len(data)
        return data

    def _fill(self) -> bool:
        if self.closed or self._socket.fileno() < 0:
            return False
        self._socket.settimeout(self._patience)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            data = b""  # a reset ends it as well
        self.closed = not data
        self.received += data
        return bool(data)


def expected(talk: Talk) -> bytes:
    """All bytes that the table says the client receives."""
    steps = (step for _, expects in talk for step in (expects if isinstance(expects, tuple) else (expects,)))
    return b"".join(wire(step) for step in steps if isinstance(step, (bytes, str)))
