"""``auth_http_cache``: how long answers of the auth server are kept, and where."""

from dataclasses import dataclass
from typing import Any

from . import units
from .statement import Statement
from .zone import Zone, ZoneSizeError, declare

_LONGEST = 10 * 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class AuthCache:
    zone: Zone
    valid: int  # milliseconds that an answer that lets in is kept; 0: it is not
    invalid: int  # one that refuses


def parse(statement: Statement, previous: Any) -> AuthCache | None:
    """``zone=NAME:SIZE [valid=TIME] [invalid=TIME]``, times of at most 10 days; or ``off``."""
    if statement.arguments == ["off"]:
        return None
    zone: Zone | None = None
    times: dict[str, int] = {}
    said: set[str] = set()
    for word in statement.arguments:
        name, _, value = word.partition("=")
        if name in said:
            raise statement.error(f'duplicate parameter "{name}"')
        said.add(name)
        if name == "zone":
            zone = _zone(statement, word, value)
        elif name in ("valid", "invalid"):
            times[name] = _time(statement, word, value)
        else:
            raise _invalid(statement, word)
    if zone is None:
        raise statement.error(f'"{statement.name}" must have "zone" parameter')
    return AuthCache(zone, times.get("valid", 60_000), times.get("invalid", 10_000))


def _invalid(statement: Statement, word: str) -> Exception:
    return statement.error(f'invalid parameter "{word}"')


def _zone(statement: Statement, word: str, value: str) -> Zone:
    name, _, size = value.partition(":")
    if not name:
        raise _invalid(statement, word)
    try:
        return declare(statement, name, size)
    except ZoneSizeError as error:
        if error.small:
            raise statement.error(f'zone "{value}" is too small') from None
        raise statement.error(f'invalid zone size "{value}"') from None


def _time(statement: Statement, word: str, value: str) -> int:
    try:
        time = units.milliseconds(value)
    except ValueError:
        raise _invalid(statement, word) from None
    if time > _LONGEST:
        raise statement.error(f'"{word}" is too long')
    return time
