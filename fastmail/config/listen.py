"""``listen``: the addresses a server accepts on (and the protocol that their port suggests)."""

from dataclasses import dataclass
from typing import Any

from . import units
from .address import AddressError, SocketAddress, parse_url, print_address
from .statement import Statement

BACKLOG = 511
_PROTOCOL_PORTS = {143: "imap", 993: "imap", 110: "pop3", 995: "pop3", 25: "smtp", 465: "smtp", 587: "smtp"}


@dataclass(frozen=True)
class Keepalive:
    """``so_keepalive``: whether probes are sent; seconds and a count, 0 where the system's value is left."""

    on: bool
    idle: int = 0
    interval: int = 0
    count: int = 0


@dataclass(frozen=True)
class Listen:
    """One socket address of one server."""

    text: str  # as logs print it
    family: int  # socket.AF_INET, AF_INET6 or AF_UNIX
    address: SocketAddress
    backlog: int
    bind: bool
    location: str  # FILE:LINE
    proxy_protocol: bool = False
    ssl: bool = False
    rcvbuf: int | None = None  # bytes; None: the system's
    sndbuf: int | None = None
    ipv6only: bool = True
    so_keepalive: Keepalive | None = None  # None: left as the system has it
    multipath: bool = False


@dataclass
class _Parameters:
    backlog: int = BACKLOG
    bind: bool = False
    proxy_protocol: bool = False
    ssl: bool = False
    rcvbuf: int | None = None
    sndbuf: int | None = None
    ipv6only: bool = True
    so_keepalive: Keepalive | None = None
    multipath: bool = False


def parse(statement: Statement, previous: Any) -> tuple[Listen, ...]:
    """The sockets of one more ``listen``. One name, address and port may be listened on once only."""
    text = statement.words[1]
    try:
        url = parse_url(text, listen=True)
    except AddressError as error:
        raise statement.error(f'{error} in "{text}" of the "listen" directive') from None
    server = statement.scope
    if url.port in _PROTOCOL_PORTS:
        server.values.setdefault("protocol", _PROTOCOL_PORTS[url.port])
    parameters = _parse_parameters(statement)
    taken = server.parent.addresses if server.parent else set()
    listens = []
    for family, address in dict.fromkeys(url.addresses):
        printed = print_address(family, address)
        if (family, address) in taken:
            raise statement.error(f'duplicate "{printed}" address and port pair')
        taken.add((family, address))
        listens.append(Listen(printed, family, address, location=statement.lexer.place, **vars(parameters)))
    return (*(previous or ()), *listens)


def _parse_parameters(statement: Statement) -> _Parameters:
    parameters = _Parameters()
    for word in statement.words[2:]:
        name, equals, value = word.partition("=")
        if not equals and name in ("bind", "ssl", "proxy_protocol", "multipath"):
            setattr(parameters, name, True)
        elif name == "backlog" and equals:
            parameters.backlog = _backlog(statement, word, value)
        elif name in ("rcvbuf", "sndbuf") and equals:
            setattr(parameters, name, _buffer(statement, word, value))
        elif word.startswith("ipv6only=o"):
            if value not in ("on", "off"):
                raise statement.error(f'invalid ipv6only flags "{value}"')
            parameters.ipv6only = value == "on"
        elif name == "so_keepalive" and equals:
            parameters.so_keepalive = _keepalive(statement, value)
        else:
            raise statement.error(f'invalid parameter "{word}"')
        parameters.bind |= name not in ("ssl", "proxy_protocol")
    return parameters


def _backlog(statement: Statement, word: str, value: str) -> int:
    try:
        backlog = units.number(value)
    except ValueError:
        backlog = 0
    # listen() takes an int; the kernel cuts it to net.core.somaxconn
    if backlog == 0:
        raise statement.error(f'invalid backlog "{word}"')
    return min(backlog, 2**31 - 1)


def _buffer(statement: Statement, word: str, value: str) -> int:
    try:
        size = units.size(value)
    except ValueError:
        raise statement.error(f'invalid {word.partition("=")[0]} "{word}"') from None
    return min(size, 2**31 - 1)  # setsockopt() takes an int; the kernel cuts it to net.core.[rw]mem_max


def _keepalive(statement: Statement, value: str) -> Keepalive:
    """``on``, ``off`` or ``[idle]:[intvl]:[cnt]`` with at least one part that is not 0."""
    if value in ("on", "off"):
        return Keepalive(value == "on")
    idle, _, rest = value.partition(":")
    interval, _, count = rest.partition(":")
    try:
        parts = [
            units.seconds(idle) if idle else 0,
            units.seconds(interval) if interval else 0,
            units.number(count) if count else 0,
        ]
    except ValueError:
        parts = []
    if not any(parts):
        raise statement.error(f'invalid so_keepalive value: "{value}"')
    return Keepalive(True, *(min(part, 2**31 - 1) for part in parts))
