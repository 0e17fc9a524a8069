"""``error_log``: where messages go, and from which level on."""

import os
from dataclasses import dataclass
from typing import Any

from fastmail.logs import DEBUG, ERROR, LEVELS, MAX_LINE

from . import units
from .address import AddressError, SocketAddress, parse_url, print_address
from .statement import Environment, Statement

_DEBUG_LEVELS = tuple(
    f"debug_{part}" for part in ("core", "alloc", "mutex", "event", "http", "mail", "stream")
)
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv"),
    *("ftp", "ntp", "audit", "alert", "cron", *(f"local{number}" for number in range(8))),
)
_SYSLOG_ADDRESSES_MAX = 8  # of one name; as the engine's
_MEMORY_HEADING = 11 + 20 + 20  # what nginx writes in front of the lines, besides the file's name


@dataclass(frozen=True)
class SyslogServer:
    """Where datagrams go, and how their lines begin. ``facility`` is RFC 3164's number."""

    addresses: tuple[tuple[int, SocketAddress], ...]  # (family, address); a name may have several
    facility: int
    header: str  # "HOST TAG: "

    @property
    def names(self) -> tuple[str, ...]:
        """The addresses as logs show them."""
        return tuple(print_address(family, address) for family, address in self.addresses)


@dataclass(frozen=True)
class ErrorLog:
    """``path`` is ``stderr``, absolute, or the words of ``syslog:`` or ``memory:``; ``level`` is nginx's
    number (logs.LEVELS)."""

    path: str
    level: int
    syslog: SyslogServer | None = None
    memory: int = 0  # bytes

    @property
    def lasting(self) -> bool:
        """Whether it is a file or stderr."""
        return self.syslog is None and not self.memory


def parse(statement: Statement, previous: Any) -> tuple[ErrorLog, ...]:
    """One more log for this level; several on one level each receive what they ask for."""
    target = statement.words[1]
    memory, syslog = 0, None
    if target.startswith("memory:"):
        memory = _parse_memory(statement, target)
    elif target.startswith("syslog:"):
        syslog = _parse_syslog(statement, target.removeprefix("syslog:"))
    level = _parse_level(statement)
    if memory or syslog:
        path = target
    else:
        path = "stderr" if target in ("", "stderr") else statement.environment.prefix_path(target)
    return (*(previous or ()), ErrorLog(path, level, syslog, memory))


def with_default(logs: tuple[ErrorLog, ...], environment: Environment) -> list[ErrorLog]:
    """The main level's logs. A default log is added if they name neither a file nor stderr."""
    if any(log.lasting for log in logs):
        return list(logs)
    path = environment.defaults.error_log
    return [*logs, ErrorLog(path if path == "stderr" else environment.prefix_path(path), ERROR)]


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


def _parse_memory(statement: Statement, target: str) -> int:
    text = target.removeprefix("memory:")
    try:
        size = units.size(text)
    except ValueError:
        size = 0
    place = statement.lexer.name or ""
    if size < MAX_LINE + _MEMORY_HEADING + len(os.fsencode(place)):
        raise statement.error(f'invalid buffer size "{text}"')
    return size


def _parse_syslog(statement: Statement, text: str) -> SyslogServer:
    values: dict[str, str] = {}
    host = f"{statement.environment.host_name} "
    addresses: tuple[tuple[int, SocketAddress], ...] = ()
    for parameter in text.split(","):
        name, equals, value = parameter.partition("=")
        if parameter == "nohostname":
            host = ""
            continue
        if not equals or name not in ("server", "facility", "severity", "tag"):
            raise statement.error(f'unknown syslog parameter "{parameter}"')
        if name in values:
            raise statement.error(f'duplicate syslog "{name}"')
        values[name] = value
        if name == "server":
            addresses = _syslog_addresses(statement, value)
        problem = _syslog_problem(name, value)
        if problem:
            raise statement.error(problem)
    if not addresses:
        raise statement.error("no syslog server specified")
    facility = _FACILITIES.index(values.get("facility", "local7"))
    tag = values.get("tag", statement.environment.identity)
    return SyslogServer(addresses, facility, f"{host}{tag}: ")


def _syslog_addresses(statement: Statement, value: str) -> tuple[tuple[int, SocketAddress], ...]:
    try:
        return tuple(parse_url(value, default_port=514).addresses[:_SYSLOG_ADDRESSES_MAX])
    except AddressError as error:
        raise statement.error(f'{error} in syslog server "{value}"') from None


def _syslog_problem(name: str, value: str) -> str:
    if name == "facility" and value not in _FACILITIES:
        return f'unknown syslog facility "{value}"'
    if name == "severity" and value not in LEVELS[1:]:
        return f'unknown syslog severity "{value}"'
    if name == "tag" and len(value) > 32:
        return "syslog tag length exceeds 32"
    if name == "tag" and not all(char.isascii() and (char.isalnum() or char == "_") for char in value):
        return 'syslog "tag" only allows alphanumeric characters and underscore'
    return ""
