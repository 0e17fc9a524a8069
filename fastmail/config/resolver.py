"""``resolver`` and the directives that list networks."""

from dataclasses import dataclass
from typing import Any

from . import units
from .address import AddressError, Network, SocketAddress, parse_networks, parse_url
from .statement import Statement


@dataclass(frozen=True)
class ResolverServers:
    """Name servers, resolved when the configuration was loaded.

    ``valid`` is how many seconds an answer holds; None: as long as it says itself.
    """

    servers: tuple[tuple[int, SocketAddress], ...]
    valid: int | None = None
    ipv4: bool = True
    ipv6: bool = True


def parse_resolver(statement: Statement, previous: Any) -> ResolverServers | None:
    """The servers, or None for ``off``."""
    if statement.words[1] == "off":
        return None
    families = {"ipv4": True, "ipv6": True}
    valid: int | None = None
    servers: list[tuple[int, SocketAddress]] = []
    for word in statement.arguments:
        name, equals, value = word.partition("=")
        if equals and name == "valid":
            try:
                valid = units.seconds(value)
            except ValueError:
                raise statement.error(f"invalid parameter: {word}") from None
        elif equals and name in families:
            if value not in ("on", "off"):
                raise statement.error(f"invalid parameter: {word}")
            families[name] = value == "on"
        else:
            servers += _server(statement, word)
    if not any(families.values()):
        raise statement.error('"ipv4" and "ipv6" cannot both be "off"')
    if not servers:
        raise statement.error("no name servers defined")
    return ResolverServers(tuple(servers), valid, **families)


def _server(statement: Statement, text: str) -> list[tuple[int, SocketAddress]]:
    try:
        return parse_url(text, default_port=53).addresses
    except AddressError as error:
        raise statement.error(f'{error} in resolver "{text}"') from None


def parse_network(statement: Statement, previous: Any) -> tuple[Network, ...]:
    """``ADDR``, ``CIDR``, ``unix:`` or a host name, all of whose addresses are taken."""
    text = statement.words[1]
    try:
        networks = parse_networks(text)
    except AddressError as error:
        raise statement.error(f'{error} in {statement.name} "{text}"') from None
    if networks[0].meaningless_bits:
        statement.warn(f"low address bits of {text} are meaningless")
    return (*(previous or ()), *networks)
