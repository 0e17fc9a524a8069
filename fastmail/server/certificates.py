"""Renewed certificates without a reload (``ssl_certificate_reload``).

The master, or a single process, looks at the files; workers, who may not be able to read keys, are sent them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from fastmail._speedups import TLSContext, TLSError
from fastmail.config import ServerConfiguration
from fastmail.config.tls import ServerTLS, Signatures, is_file, renewed
from fastmail.config.validity import invalid
from fastmail.logs import Log

_LENGTH = 4  # bytes before each message

Renew = Callable[[int, TLSContext], None]
"""What is done with certificates that have been renewed: the server's number, and a context that has them."""


@dataclass
class _Watched:
    number: int  # of the server
    tls: ServerTLS
    loaded: Signatures  # what the files were when they were last read, well or ill
    seen: Signatures
    due: float  # time.monotonic()

    def look(self) -> bool:
        """Whether the files are to be read: they have changed, and stayed the same since the last look."""
        before, self.seen = self.seen, self.tls.signatures()
        return self.seen == before and self.seen != self.loaded


class CertificateWatch:
    """The certificate files of a configuration."""

    def __init__(self, servers: Iterable[ServerConfiguration], log: Log) -> None:
        self._log = log
        self._watched: list[_Watched] = []
        self._warned: set[str] = set()
        for number, server in enumerate(servers):
            tls = server.tls
            if tls is not None and tls.reload and tls.loaded:
                due = time.monotonic() + tls.reload / 1000
                self._watched.append(_Watched(number, tls, tls.loaded, tls.loaded, due))

    def due(self) -> float | None:
        """When to call look() next, on the monotonic clock; None: never."""
        return min((watched.due for watched in self._watched), default=None)

    def look(self, renew: Renew) -> None:
        """Read what has changed. A pair that is not good is logged, once, and the old one stays."""
        now = time.monotonic()
        for watched in self._watched:
            if watched.due > now:
                continue
            watched.due = now + watched.tls.reload / 1000
            if watched.look():
                watched.loaded = watched.seen
                self._read(watched, renew)

    def _read(self, watched: _Watched, renew: Renew) -> None:
        tls = watched.tls
        names = ", ".join(f'"{os.fsdecode(name)}"' for name, _ in tls.files if is_file(name))
        try:
            fresh = tls.fresh()
            renew(watched.number, fresh)
        except (TLSError, BufferError) as error:
            self._log.error(f"certificate {names} could not be renewed, the old one stays: {error}")
        else:
            self._log.notice(f"certificate {names} renewed")
            self._warn(tls)

    def _warn(self, tls: ServerTLS) -> None:
        """Of what has been renewed and is not valid; servers that share a file have one warning."""
        with suppress(TLSError):  # the file has changed again
            for text in invalid(certificate for certificate, _ in tls.files):
                if text not in self._warned:
                    self._warned.add(text)
                    self._log.warn(text)


# --- from the master to its workers ----------------------------------------------------------------


def message(number: int, context: TLSContext) -> bytes:
    """The certificates and keys of a server, for another process. Raises TLSError."""
    pairs = [[certificate.decode(), key.decode()] for certificate, key in context.pairs()]
    data = json.dumps([number, pairs]).encode()
    return len(data).to_bytes(_LENGTH, "big") + data


class Receiver:
    """Takes messages apart as they arrive."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes, renew: Renew) -> None:
        """Raises TLSError and BufferError."""
        self._data += data
        while len(self._data) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._data[:_LENGTH], "big")
            if len(self._data) < end:
                return
            number, pairs = json.loads(self._data[_LENGTH:end])
            self._data[:end] = bytes(end)  # keys
            del self._data[:end]
            renew(number, renewed([(f"data:{a}".encode(), f"data:{b}".encode()) for a, b in pairs], [b""]))
