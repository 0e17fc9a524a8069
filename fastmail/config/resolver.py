"""``resolver`` and the directives that list networks."""

from typing import Any

from . import units
from .address import AddressError, Network, parse_networks, parse_url
from .statement import Statement


def parse_resolver(statement: Statement, previous: Any) -> tuple[str, ...] | None:
    """Servers and parameters as written, or None for ``off``."""
    if statement.words[1] == "off":
        return None
    families = {"ipv4": True, "ipv6": True}
    servers = 0
    for word in statement.arguments:
        name, equals, value = word.partition("=")
        if equals and name == "valid":
            try:
                units.seconds(value)
            except ValueError:
                raise statement.error(f"invalid parameter: {word}") from None
        elif equals and name in families:
            if value not in ("on", "off"):
                raise statement.error(f"invalid parameter: {word}")
            families[name] = value == "on"
        else:
            _check_server(statement, word)
            servers += 1
    if not any(families.values()):
        raise statement.error('"ipv4" and "ipv6" cannot both be "off"')
    if not servers:
        raise statement.error("no name servers defined")
    return tuple(statement.arguments)


def _check_server(statement: Statement, text: str) -> None:
    try:
        parse_url(text, default_port=53)
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
