"""``ssl_session_cache``: kinds of TLS session stores."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from . import units
from .statement import Statement
from .zone import Zone, ZoneSizeError, declare

Mode = Literal["off", "none", "builtin"]
_MODES: dict[str, Mode] = {"off": "off", "none": "none", "builtin": "builtin"}


@dataclass(frozen=True)
class SessionCache:
    """What one level says. A zone and a mode are inherited independently of each other, as in nginx."""

    mode: Mode | None = None  # None: nothing is said, or a zone is all there is
    size: int = 0  # sessions of ``builtin``; 0: OpenSSL's 20480
    zone: Zone | None = None


def parse(statement: Statement, previous: Any) -> SessionCache:
    """``off``, ``none``, ``builtin[:N]``, ``shared:NAME:SIZE``."""
    cache: SessionCache = previous or SessionCache()
    for word in statement.arguments:
        kind, colon, rest = word.partition(":")
        if word in _MODES:
            cache = replace(cache, mode=_MODES[word], size=0)
        elif kind == "builtin" and rest:
            cache = replace(cache, mode="builtin", size=_number(statement, word, rest))
        elif kind == "shared" and colon:
            cache = replace(cache, zone=_zone(statement, word, rest))
        else:
            raise _invalid(statement, word)
    return cache


def _invalid(statement: Statement, word: str) -> Exception:
    return statement.error(f'invalid session cache "{word}"')


def _number(statement: Statement, word: str, text: str) -> int:
    try:
        return units.number(text)
    except ValueError:
        raise _invalid(statement, word) from None


def _zone(statement: Statement, word: str, text: str) -> Zone:
    name, colon, rest = text.partition(":")
    if not name or not colon:
        raise _invalid(statement, word)
    try:
        return declare(statement, name, rest)
    except ZoneSizeError as error:
        if error.small:
            raise statement.error(f'session cache "{word}" is too small') from None
        raise _invalid(statement, word) from None
