"""``auth_http``: the server that is asked whether credentials are good."""

import socket
from dataclasses import dataclass
from typing import Any, Literal

from .address import AddressError, SocketAddress, parse_url, print_address
from .statement import Statement


@dataclass(frozen=True)
class AuthHttp:
    """The server and its addresses, resolved when the configuration was loaded."""

    scheme: Literal["http", "https", "unix"]
    host: str  # of the Host header: as written, without the port
    family: int
    address: SocketAddress
    uri: str  # of the request line; "/" when there is none
    text: str  # as logs print it
    others: tuple[tuple[int, SocketAddress], ...] = ()
    """(family, address) of what else its name leads to; asked if those before cannot be connected to."""

    @property
    def addresses(self) -> tuple[tuple[int, SocketAddress], ...]:
        return ((self.family, self.address), *self.others)


def parse(statement: Statement, previous: Any) -> AuthHttp:
    """``[http://]HOST[:PORT][/URI]``, ``unix:PATH[:URI]``, or ``https://HOST[:PORT][/URI]`` (ours)."""
    text = statement.words[1]
    secure = text.startswith("https://")
    text = text.removeprefix("https://" if secure else "http://")
    try:
        url = parse_url(text, default_port=443 if secure else 80, uri=True)
    except AddressError as error:
        raise statement.error(f'{error} in auth_http "{text}"') from None
    (family, address), *others = url.addresses
    if family == socket.AF_UNIX:
        if secure:
            raise statement.error(f'invalid host in auth_http "{text}"')
        scheme, host = "unix", "localhost"
    else:
        scheme, host = "https" if secure else "http", url.host
    text = print_address(family, address)
    return AuthHttp(scheme, host, family, address, url.uri or "/", text, tuple(others))  # type: ignore[arg-type]
