"""What a session looked like from outside, with everything that may vary between runs replaced."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from case import SALT

_SALT = re.compile(r"<\d+\.\d+@mail\.example\.com>")
_CHALLENGE = re.compile(r"^(\+|334) ([A-Za-z0-9+/]{24,}={0,2})(?=\r\n)", re.MULTILINE)
_LOG_LINE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+: (\*\d+ )?(.*)")
_LOG_LINE_MAX = 2000
"""Longer lines end where 2048 bytes with all the numbers in front do."""
_ENDED = re.compile(r"session ended: (client|upstream|auth http server|proxy) .* \(\w+\) while ")
"""fastmail's own line; tests/unit/test_engine_ends.py says where it is written."""
_PROXY_PORT = re.compile(r"(?<=^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 )\d+(?= )")
_CLIENT_PORT = re.compile(r"(?<= client 127\.0\.0\.1:)\d+(?= connected to )")


@dataclass(frozen=True)
class Observation:
    """Bytes as latin-1 text, to the auth server and the backend one text per connection; and the log."""

    client: str
    auth: tuple[str, ...]
    backend: tuple[str, ...]
    log: tuple[str, ...]

    def described(self) -> list[str]:
        """One line for each thing seen, for a readable comparison."""
        parts = {"client": (self.client,), "auth": self.auth, "backend": self.backend}
        lines = [
            f"{name}: {text!r}"
            for name, texts in parts.items()
            for whole in texts
            for text in whole.split("\n")
        ]
        return lines + [f"log: {line!r}" for line in self.log]


@dataclass(frozen=True)
class Normaliser:
    """Replaces what differs from run to run: ``names`` maps ports and paths to what stands for them, where
    they are a word of their own, or have zeros before them."""

    names: dict[str, str]

    def bytes(self, data: bytes) -> str:
        """Bytes that a peer received, salts and addresses replaced."""
        text = _CHALLENGE.sub(_readable, _SALT.sub(SALT, data.decode("latin-1")))
        return self._named(_PROXY_PORT.sub("PORT", text))

    def log(self, lines: Iterable[str]) -> tuple[str, ...]:
        """The session lines as ``[level] message``: no date, ids, connection number, client port."""
        entries: list[str] = []
        session = False
        for line in lines:
            if entry := _LOG_LINE.match(line):
                level, connection, message = entry.groups()
                session = connection is not None and not _ENDED.match(message)
                if session:
                    cut = len(line) >= _LOG_LINE_MAX
                    entries.append(f"{level} {message[:1900]}<cut>" if cut else f"{level} {message}")
            elif session:  # a login with a line end in it
                entries[-1] += f"\n{line}"
        return tuple(self._named(_CLIENT_PORT.sub("PORT", entry)) for entry in entries)

    def _named(self, text: str) -> str:
        for value, name in self.names.items():
            text = re.sub(rf"(?<![1-9A-Za-z]){re.escape(value)}(?![0-9A-Za-z])", name, text)
        return text


def _readable(challenge: re.Match[str]) -> str:
    try:
        decoded = base64.b64decode(challenge[2]).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return challenge[0]
    return f"{challenge[1]} BASE64({SALT})" if _SALT.fullmatch(decoded) else challenge[0]
