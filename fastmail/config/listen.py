"""``listen``: the addresses a server accepts on (and the protocol that their port suggests)."""

from dataclasses import dataclass, field
from typing import Any

from . import units
from .address import AddressError, SocketAddress, parse_url, print_address
from .errors import ConfigError
from .statement import Scope, Statement

BACKLOG = 511
_PROTOCOL_PORTS = {143: "imap", 993: "imap", 110: "pop3", 995: "pop3", 25: "smtp", 465: "smtp", 587: "smtp"}


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

    @property
    def wildcard(self) -> bool:
        return not isinstance(self.address, str) and self.address[0] in ("0.0.0.0", "::")


@dataclass
class _Parameters:
    backlog: int = BACKLOG
    bind: bool = False
    proxy_protocol: bool = False
    unsupported: list[str] = field(default_factory=list)


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
        listens.append(
            Listen(
                printed,
                family,
                address,
                parameters.backlog,
                parameters.bind,
                statement.lexer.place,
                parameters.proxy_protocol,
            )
        )
    if parameters.unsupported:
        raise statement.error(
            f'the "{parameters.unsupported[0]}" parameter of the "listen" directive is not supported yet'
        )
    return (*(previous or ()), *listens)


def _parse_parameters(statement: Statement) -> _Parameters:
    parameters = _Parameters()
    for word in statement.words[2:]:
        name, equals, value = word.partition("=")
        if not equals and name in ("bind", "ssl", "proxy_protocol", "multipath"):
            asks = name in ("ssl", "multipath")
            parameters.proxy_protocol |= name == "proxy_protocol"
        elif name == "backlog" and equals:
            parameters.backlog = _backlog(statement, word, value)
            asks = False
        elif name in ("rcvbuf", "sndbuf") and equals:
            _check_buffer(statement, word, value)
            asks = True
        elif word.startswith("ipv6only=o"):
            if value not in ("on", "off"):
                raise statement.error(f'invalid ipv6only flags "{value}"')
            asks = value == "off"  # on is what a socket has anyway
        elif name == "so_keepalive" and equals:
            _check_keepalive(statement, value)
            asks = value != "off"
        else:
            raise statement.error(f'invalid parameter "{word}"')
        parameters.bind |= name not in ("ssl", "proxy_protocol")
        if asks:
            parameters.unsupported.append(name)
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


def _check_buffer(statement: Statement, word: str, value: str) -> None:
    try:
        units.size(value)
    except ValueError:
        raise statement.error(f'invalid {word.partition("=")[0]} "{word}"') from None


def _check_keepalive(statement: Statement, value: str) -> None:
    """``on``, ``off`` or ``[idle]:[intvl]:[cnt]`` with at least one part that is not 0."""
    if value in ("on", "off"):
        return
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


def check_sharing(mail: Scope) -> None:
    """Raise ConfigError for a wildcard and an address of its port that nginx would serve from one
    socket, choosing the server by the connection's local address."""
    listens = [one for server in mail.blocks.get("server", ()) for one in server.values["listen"]]
    wildcards = {(one.family, one.address[1]): one for one in listens if one.wildcard}
    for one in listens:
        if isinstance(one.address, str) or one.wildcard or one.bind:
            continue
        wildcard = wildcards.get((one.family, one.address[1]))
        if wildcard:
            raise ConfigError(
                f'"{one.text}" on the socket of "{wildcard.text}" is not supported yet in {one.location}'
            )
