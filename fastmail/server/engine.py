"""Makes the engine of a worker from the configuration."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastmail import _speedups
from fastmail.config import Listen, ServerConfiguration
from fastmail.config.address import Network
from fastmail.logs import MemoryLog, Syslog
from fastmail.server import StartFailed
from fastmail.server.auth_caches import AuthCaches
from fastmail.server.shared import Share
from fastmail.server.sockets import key, wildcard_of

if TYPE_CHECKING:
    from fastmail.server.cycle import Cycle

MAX_CONNECTIONS = 2**24
"""More than a process can have descriptors; nginx would run out of memory, the engine out of digits."""

COUNT_MAX = 2**32 - 1
"""As far as the engine counts. nginx takes larger numbers, which come to the same."""

_PROXY_VERSIONS = {"off": 0, "on": 1, "v2": 2}

POP3_CLIENT_BUFFER = 128  # bytes; nginx has no directive for it


def carried_by_aiohttp(server: ServerConfiguration) -> bool:
    """Whether this server's auth requests leave the engine (TLS always, else ``auth_http_transport``)."""
    return server.auth_http.scheme == "https" or server["auth_http_transport"] == "aiohttp"


def make_server(
    server: ServerConfiguration, log: list[tuple[int, int]], caches: AuthCaches
) -> _speedups.Server:
    """One ``server {}`` as the engine takes it. Raises StartFailed if a number is beyond the engine."""
    try:
        return _make_server(server, log, caches)
    except (ValueError, OverflowError) as error:
        raise StartFailed(f"{error} in server in {server.location}") from error


def _make_server(
    server: ServerConfiguration, log: list[tuple[int, int]], caches: AuthCaches
) -> _speedups.Server:
    protocol = server.protocol
    auth_http = server.auth_http
    cache = server["auth_http_cache"]
    return _speedups.Server(
        protocol=protocol,
        server_name=_bytes(server["server_name"]),
        auth_http=list(auth_http.addresses),
        auth_http_host=_bytes(auth_http.host),
        auth_http_uri=_bytes(auth_http.uri),
        auth_http_headers=[(_bytes(name), _bytes(value)) for name, value in server["auth_http_header"]],
        auth_http_timeout=server["auth_http_timeout"],
        auth_http_keepalive=min(server["auth_http_keepalive"], COUNT_MAX),
        auth_http_keepalive_time=server["auth_http_keepalive_time"],
        auth_http_transport="aiohttp" if carried_by_aiohttp(server) else "engine",
        auth_http_cache=None if cache is None else (caches[cache.zone], cache.valid, cache.invalid),
        auth=server[f"{protocol}_auth"],
        capabilities=[_bytes(word) for word in server[f"{protocol}_capabilities"]],
        client_buffer=client_buffer(server),
        timeout=server["timeout"],
        max_errors=min(server["max_errors"], COUNT_MAX),
        proxy_buffer=server["proxy_buffer"],
        proxy_timeout=server["proxy_timeout"],
        proxy_pass_error_message=server["proxy_pass_error_message"],
        xclient=server["xclient"],
        proxy_smtp_auth=server["proxy_smtp_auth"],
        proxy_pipelining=server["proxy_pipelining"],
        proxy_preconnect=server["proxy_preconnect"],
        proxy_socket_keepalive=server["proxy_socket_keepalive"],
        smtp_greeting_delay=server["smtp_greeting_delay"],
        log=log,
        proxy_protocol=_PROXY_VERSIONS[server["proxy_protocol"]],
        resolver_timeout=max(server["resolver_timeout"], 1) if server["resolver"] is not None else 0,
        set_real_ip_from=networks(server["set_real_ip_from"]),
        max_commands=min(server["max_commands"], COUNT_MAX),
        max_auth_attempts=min(server["max_auth_attempts"], COUNT_MAX),
        imap_id=server["imap_id"],
        starttls=server["starttls"],
        tls=server.tls.context if server.tls is not None else None,
        auth_http_pass_client_cert=server["auth_http_pass_client_cert"],
        proxy_tls=server.proxy_tls,
        proxy_ssl_starttls=server["proxy_ssl_starttls"],
        proxy_ssl_verify=server["proxy_ssl_verify"],
        proxy_ssl_name=_bytes(server["proxy_ssl_name"] or ""),
        proxy_ssl_server_name=server["proxy_ssl_server_name"],
        proxy_ssl_session_reuse=server["proxy_ssl_session_reuse"],
        proxy_bind=[((family, address), _bytes(text)) for family, address, text in server["proxy_bind"]],
    )


def networks(values: Iterable[Network]) -> list[_speedups.Network]:
    """Networks of the configuration as the engine takes them."""
    taken: list[_speedups.Network] = []
    for value in values:
        network = value.network
        if network is None:
            taken.append((socket.AF_UNIX, b"", 0))
        else:
            family = socket.AF_INET if network.version == 4 else socket.AF_INET6
            taken.append((family, network.network_address.packed, network.prefixlen))
    return taken


def client_buffer(server: ServerConfiguration) -> int:
    if server.protocol == "pop3":
        return POP3_CLIENT_BUFFER
    size: int = server[f"{server.protocol}_client_buffer"]
    return size


def make_engine(cycle: Cycle, share: Share, *, exclusive: bool) -> _speedups.Engine:
    """An engine that serves all of the cycle's listening sockets; only after the fork."""
    pairs = [
        (listen, server)
        for configuration, server in zip(cycle.configuration.servers, cycle.servers, strict=True)
        for listen in configuration.listens
    ]
    every = [listen for listen, _ in pairs]
    listeners: list[_speedups.Listener] = []
    for listen, server in pairs:
        wildcard = wildcard_of(listen, every)
        fd = cycle.sockets[key(wildcard or listen)].fileno()
        entry = (fd, _bytes(listen.text), server, _flags(listen))
        listeners.append(entry if wildcard is None else (*entry, (listen.family, listen.address)))
    events = cycle.configuration.events
    return _speedups.Engine(
        listeners,
        worker_connections=min(events["worker_connections"], MAX_CONNECTIONS),
        multi_accept=events["multi_accept"],
        exclusive=exclusive,
        connection_counter=share.counter,
        places=share.places,
        log=cycle.log.targets(),
        syslog={
            fd: (log.server.addresses, log.server.facility, _bytes(log.server.header))
            for fd, log in cycle.files.others.items()
            if isinstance(log, Syslog)
        },
        memory={fd: log.map for fd, log in cycle.files.others.items() if isinstance(log, MemoryLog)},
        debug_connection=networks(events["debug_connection"]),
        accept_pause=events["accept_mutex_delay"],
    )


def _flags(listen: Listen) -> int:
    proxied = _speedups.LISTEN_PROXY_PROTOCOL if listen.proxy_protocol else 0
    return proxied | (_speedups.LISTEN_SSL if listen.ssl else 0)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
