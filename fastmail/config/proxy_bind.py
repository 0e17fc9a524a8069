"""``proxy_bind``: the local addresses of connections to backends."""

import socket
from typing import Any

from .address import AddressError, SocketAddress, parse_url
from .statement import Statement

Source = tuple[int, SocketAddress, str]
"""``(family, address, as written)``; port 0 leaves the choice to the kernel."""


def parse(statement: Statement, previous: Any) -> tuple[Source, ...]:
    """``ADDR[:PORT]...`` or ``off``. A name stands for all that it has when it is read."""
    if statement.arguments == ["off"]:
        return ()
    sources: list[Source] = []
    for text in statement.arguments:
        try:
            addresses = parse_url(text).addresses
        except AddressError as error:
            raise statement.error(f'{error} in proxy_bind "{text}"') from None
        if any(family == socket.AF_UNIX for family, _ in addresses):
            raise statement.error(f'invalid address "{text}"')
        sources += [(family, address, text) for family, address in addresses]
    return tuple(sources)
