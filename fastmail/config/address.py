"""Addresses as nginx reads and prints them: ``listen``, ``auth_http``, resolvers, networks."""

import ipaddress
import socket
from dataclasses import dataclass, field
from typing import Any

from . import units
from .statement import c_string

SocketAddress = tuple[str, int] | str
"""``(numeric host, port)``, or the path of a unix socket."""

_PATH_MAX = 107  # sockaddr_un.sun_path without its NUL


class AddressError(ValueError):
    """``str()`` is nginx's reason: ``invalid port``, ``host not found`` …"""


@dataclass
class Url:
    """What nginx makes of ``HOST[:PORT][/URI]``."""

    host: str  # as written
    port: int  # the first one of a range; 0 for unix sockets
    uri: str = ""
    addresses: list[tuple[int, SocketAddress]] = field(default_factory=list)  # (family, address)


def parse_url(text: str, *, default_port: int = 0, listen: bool = False, uri: bool = False) -> Url:
    """Read an address and resolve its host. Raises AddressError.

    ``listen`` allows a port alone, ``*`` and port ranges; ``uri`` allows something behind the port.
    """
    if text[:5].lower() == "unix:":
        return _parse_unix(text[5:], uri)
    if text.startswith("["):
        host, port_text, rest = _split_inet6(text)
    else:
        host, port_text, rest = _split_inet(text)
    if rest and (listen or not uri):
        raise AddressError("invalid host")
    if listen and port_text is None and not text.startswith("["):
        ports = _port_alone(host)
        if ports:
            return Url("", ports[0], addresses=[(socket.AF_INET, ("0.0.0.0", port)) for port in ports])
    ports = range(default_port, default_port + 1) if port_text is None else _ports(port_text, listen)
    if not host or host == "[]":
        raise AddressError("no host")
    hosts = [(socket.AF_INET, "0.0.0.0")] if listen and host == "*" else resolve(host)
    addresses: list[tuple[int, SocketAddress]] = []
    for family, numeric in hosts:
        addresses += [(family, (numeric, port)) for port in ports]
    return Url(host, ports[0], rest, addresses)


def _parse_unix(path: str, uri: bool) -> Url:
    rest = ""
    if uri:
        path, _, rest = path.partition(":")
    if not path:
        raise AddressError("no path in the unix domain socket")
    if len(path.encode("utf-8", "surrogateescape")) > _PATH_MAX:
        raise AddressError("too long path in the unix domain socket")
    return Url(path, 0, rest, [(socket.AF_UNIX, c_string(path))])


def _split_inet6(text: str) -> tuple[str, str | None, str]:
    host, bracket, rest = text.partition("]")
    port, slash, uri = rest.partition("/")
    if not bracket or port[:1] not in ("", ":"):
        raise AddressError("invalid host")
    return host + "]", port[1:] if port else None, slash + uri


def _split_inet(text: str) -> tuple[str, str | None, str]:
    end = min((found for found in (text.find("/"), text.find("?")) if found >= 0), default=len(text))
    host, colon, port = text[:end].partition(":")
    return host, port if colon else None, text[end:]


def _port(text: str) -> int:
    try:
        port = units.number(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise AddressError("invalid port")
    return port


def _ports(text: str, listen: bool) -> range:
    """``143``, or for listen ``143-145``."""
    first, dash, last = text.partition("-")
    if not (listen and dash):
        port = _port(text)
        return range(port, port + 1)
    end = _port(last)
    start = _port(first)
    if start > end:
        raise AddressError("invalid port range")
    return range(start, end + 1)


def _port_alone(text: str) -> range | None:
    """The ports if ``text`` is nothing but numbers; a name like ``mx-1`` is not."""
    try:
        for part in text.split("-", 1):
            units.number(part)
    except ValueError:
        return None
    return _ports(text, True)


def resolve(host: str) -> list[tuple[int, str]]:
    """``(family, numeric host)`` of a numeric address, ``[v6]``, or a name. Raises AddressError."""
    if host.startswith("["):
        try:
            return [(socket.AF_INET6, _canonical6(socket.inet_pton(socket.AF_INET6, host[1:-1])))]
        except (OSError, ValueError):
            raise AddressError("invalid IPv6 address") from None
    numeric = _inet4(host)
    if numeric is not None:
        return [(socket.AF_INET, numeric)]
    try:
        # bytes: Python's IDNA codec is for browsers and raises on what the resolver merely refuses
        name = host.encode("utf-8", "surrogateescape")
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, ValueError):
        raise AddressError("host not found") from None
    hosts = [
        (int(family), str(address[0]).partition("%")[0])
        for family, _, _, _, address in found
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    if not hosts:
        raise AddressError("host not found")
    return list(dict.fromkeys(hosts))


def _inet4(text: str) -> str | None:
    """Four decimal octets; leading zeros are allowed and an empty octet is 0 (nginx)."""
    octets = text.split(".")
    if len(octets) != 4 or not all(part == "" or (part.isascii() and part.isdigit()) for part in octets):
        return None
    values = [int(part.lstrip("0")[:4] or "0") for part in octets]
    if max(values) > 255:
        return None
    return ".".join(map(str, values))


def _canonical6(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6, packed)


def print_address(family: int, address: SocketAddress) -> str:
    """``127.0.0.1:143``, ``[::1]:143``, ``unix:/path``: how logs show a listen or an auth server."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    if family == socket.AF_INET6:
        return f"[{print_inet6(socket.inet_pton(socket.AF_INET6, host))}]:{port}"
    return f"{host}:{port}"


def print_inet6(packed: bytes) -> str:
    """Lower-case hex, the first longest run of two or more zero groups compressed; mapped and
    compatible addresses end in a dotted quad."""
    groups = [int.from_bytes(packed[i : i + 2], "big") for i in range(0, 16, 2)]
    start, length = _longest_zeros(groups)
    dotted = start == 0 and (
        (length == 5 and groups[5] == 0xFFFF)
        or length == 6
        or (length == 7 and packed[14] != 0 and packed[15] != 1)
    )
    tail = [".".join(str(octet) for octet in packed[12:])] if dotted else []
    words = [f"{group:x}" for group in (groups[:6] if dotted else groups)]
    if length < 2:
        return ":".join(words + tail)
    return ":".join(words[:start]) + "::" + ":".join(words[start + length :] + tail)


def _longest_zeros(groups: list[int]) -> tuple[int, int]:
    best = (0, 0)
    run = 0
    for index, group in enumerate(groups):
        run = run + 1 if group == 0 else 0
        if run > best[1]:
            best = (index - run + 1, run)
    return best


@dataclass(frozen=True)
class Network:
    """An address range, ``unix:`` (address None), or a single address."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    meaningless_bits: bool = False


def parse_networks(text: str) -> list[Network]:
    """``ADDR``, ``ADDR/BITS``, ``ADDR/MASK``, ``unix:`` or a host name. Raises AddressError."""
    if text == "unix:":
        return [Network(None)]
    network = _cidr(text)
    if network is not None:
        return [network]
    if text.startswith("["):
        raise AddressError("host not found")  # brackets are for addresses with a port
    return [Network(ipaddress.ip_network(numeric)) for _, numeric in resolve(text)]


def _cidr(text: str) -> Network | None:
    host, slash, mask = text.partition("/")
    if slash and not (mask.isascii() and mask.isdigit()):
        return None
    try:
        numeric: Any = _inet4(host) or host
        address = ipaddress.ip_address(numeric)
        network = ipaddress.ip_network(f"{address}/{mask}" if slash else str(address), strict=False)
    except ValueError:
        return None
    return Network(network, network.network_address != address)
