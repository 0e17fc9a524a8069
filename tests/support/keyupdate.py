"""KeyUpdate messages of TLS 1.3 (RFC 8446 section 4.6.3), as many in a row as no library sends."""

import hashlib
import hmac
import os
import socket
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MESSAGE = b"\x18\0\0\1\0"  # which asks for none in return
HANDSHAKE, DATA = b"\x16", b"\x17"


class KeyUpdates:
    """Sends the first records behind a handshake, for a side whose context has written its secrets to a file.
    Only for TLS_AES_256_GCM_SHA384."""

    def __init__(self, tls: ssl.SSLSocket, keylog: Path) -> None:
        name = "SERVER_TRAFFIC_SECRET_0" if tls.server_side else "CLIENT_TRAFFIC_SECRET_0"
        assert tls.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
        lines = [line.split() for line in keylog.read_text().splitlines()]
        (secret,) = (line[2] for line in lines if line[0] == name)
        self._secret = bytes.fromhex(secret)
        self._sequence = 0
        self._tls = tls

    def send(self, count: int, text: bytes) -> None:
        """So many, and the text behind them, in one piece."""
        self.write(self.records(count, text))

    def write(self, records: bytes) -> None:
        with socket.socket(fileno=os.dup(self._tls.fileno())) as beneath:
            beneath.settimeout(self._tls.gettimeout())
            beneath.sendall(records)

    def records(self, count: int, text: bytes) -> bytes:
        """What send() sends."""
        return self._updates(count) + self.record(text)

    def record(self, content: bytes, kind: bytes = DATA) -> bytes:
        return self._record(content + kind)

    def _updates(self, count: int) -> bytes:
        records = []
        for _ in range(count):
            records.append(self._record(MESSAGE + HANDSHAKE))
            self.next_key()
        return b"".join(records)

    def next_key(self) -> None:
        """A KeyUpdate has been made."""
        self._secret = self._expand(b"traffic upd", 48)
        self._sequence = 0

    def _record(self, inner: bytes) -> bytes:
        header = b"\x17\3\3" + (len(inner) + 16).to_bytes(2)
        nonce = int.from_bytes(self._expand(b"iv", 12)) ^ self._sequence
        self._sequence += 1
        return header + AESGCM(self._expand(b"key", 32)).encrypt(nonce.to_bytes(12), inner, header)

    def _expand(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label (RFC 8446 section 7.1) without a context; one block is enough."""
        info = size.to_bytes(2) + bytes([6 + len(label)]) + b"tls13 " + label + b"\0\1"
        return hmac.new(self._secret, info, hashlib.sha384).digest()[:size]
