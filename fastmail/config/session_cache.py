"""``ssl_session_cache``: kinds of TLS session stores."""

import resource
from typing import Any

from . import units
from .statement import Statement

_SHARED_PAGES = 8


def parse(statement: Statement, previous: Any) -> tuple[str, ...]:
    """``off``, ``none``, ``builtin[:N]``, ``shared:NAME:SIZE``; as written."""
    for word in statement.arguments:
        kind, colon, rest = word.partition(":")
        if word in ("off", "none", "builtin"):
            continue
        try:
            if kind == "builtin" and colon:
                units.number(rest)
                continue
            name, separator, size = rest.partition(":")
            if kind != "shared" or not name or not separator:
                raise ValueError(word)
            length = units.size(size)
        except ValueError:
            raise statement.error(f'invalid session cache "{word}"') from None
        if length < _SHARED_PAGES * resource.getpagesize():
            raise statement.error(f'session cache "{word}" is too small')
    return tuple(statement.arguments)
