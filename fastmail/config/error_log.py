"""``error_log``: where messages go, and from which level on."""

import os
from dataclasses import dataclass
from typing import Any

from fastmail.logs import DEBUG, ERROR, LEVELS, MAX_LINE

from . import units
from .address import AddressError, parse_url
from .statement import Environment, Statement

_DEBUG_LEVELS = tuple(
    f"debug_{part}" for part in ("core", "alloc", "mutex", "event", "http", "mail", "stream")
)
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv"),
    *("ftp", "ntp", "audit", "alert", "cron", *(f"local{number}" for number in range(8))),
)
_MEMORY_HEADING = 11 + 20 + 20  # what nginx writes in front of the lines, besides the file's name


@dataclass(frozen=True)
class ErrorLog:
    """``path`` is ``stderr`` or absolute; ``level`` is nginx's number (logs.LEVELS)."""

    path: str
    level: int


def parse(statement: Statement, previous: Any) -> tuple[ErrorLog, ...]:
    """One more log for this level; several on one level each receive what they ask for."""
    target = statement.words[1]
    if target.startswith("memory:"):
        _check_memory(statement, target)
    elif target.startswith("syslog:"):
        _check_syslog(statement, target.removeprefix("syslog:"))
    level = _parse_level(statement)
    if target.startswith(("memory:", "syslog:")):
        kind = target.partition(":")[0]
        raise statement.error(f'"{kind}:" in the "error_log" directive is not supported yet')
    path = "stderr" if target in ("", "stderr") else statement.environment.prefix_path(target)
    return (*(previous or ()), ErrorLog(path, level))


def with_default(logs: tuple[ErrorLog, ...], environment: Environment) -> list[ErrorLog]:
    """The main level's logs. A default log is added if they name neither a file nor stderr, which
    happens when there are none."""
    if logs:
        return list(logs)
    path = environment.defaults.error_log
    return [ErrorLog(path if path == "stderr" else environment.prefix_path(path), ERROR)]


def _parse_level(statement: Statement) -> int:
    levels = statement.words[2:]
    chosen: str | None = None
    for level in levels:
        if level in _DEBUG_LEVELS:
            if chosen in LEVELS:
                raise statement.error(f'invalid log level "{level}"')
        elif level in LEVELS[1:]:
            if chosen:
                raise statement.error(f'duplicate log level "{level}"')
        else:
            raise statement.error(f'invalid log level "{level}"')
        chosen = level
    if chosen is None:
        return ERROR
    return DEBUG if chosen in _DEBUG_LEVELS else LEVELS.index(chosen)


def _check_memory(statement: Statement, target: str) -> None:
    text = target.removeprefix("memory:")
    try:
        size = units.size(text)
    except ValueError:
        size = 0
    place = statement.lexer.name or ""
    if size < MAX_LINE + _MEMORY_HEADING + len(os.fsencode(place)):
        raise statement.error(f'invalid buffer size "{text}"')


def _check_syslog(statement: Statement, text: str) -> None:
    seen: set[str] = set()
    for parameter in text.split(","):
        name, equals, value = parameter.partition("=")
        if parameter == "nohostname":
            continue
        if not equals or name not in ("server", "facility", "severity", "tag"):
            raise statement.error(f'unknown syslog parameter "{parameter}"')
        if name in seen:
            raise statement.error(f'duplicate syslog "{name}"')
        seen.add(name)
        problem = _syslog_problem(name, value)
        if problem:
            raise statement.error(problem)
    if "server" not in seen:
        raise statement.error("no syslog server specified")


def _syslog_problem(name: str, value: str) -> str:
    if name == "server":
        try:
            parse_url(value, default_port=514)
        except AddressError as error:
            return f'{error} in syslog server "{value}"'
    elif name == "facility" and value not in _FACILITIES:
        return f'unknown syslog facility "{value}"'
    elif name == "severity" and value not in LEVELS[1:]:
        return f'unknown syslog severity "{value}"'
    elif name == "tag" and len(value) > 32:
        return "syslog tag length exceeds 32"
    elif name == "tag" and not all(char.isascii() and (char.isalnum() or char == "_") for char in value):
        return 'syslog "tag" only allows alphanumeric characters and underscore'
    return ""
