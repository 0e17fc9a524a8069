"""Memory for TLS sessions that all workers share (``ssl_session_cache shared:NAME:SIZE``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastmail._speedups import TLSSessionCache
from fastmail.config import ServerConfiguration
from fastmail.config.zone import Zone
from fastmail.server.zones import shared_memory

SessionCaches = Mapping[Zone, TLSSessionCache]


def session_caches(servers: Iterable[ServerConfiguration], old: SessionCaches) -> SessionCaches:
    """The caches of a configuration, by name and size: those of the ``old`` one that it names go on.

    Gives them and the ticket keys to the servers' contexts. Made in the master: workers inherit them.
    """
    caches: dict[Zone, TLSSessionCache] = {}
    for server in servers:
        if server.tls is None:
            continue
        zone = server.tls.zone
        if zone is not None:
            if zone not in caches:
                caches[zone] = old.get(zone) or TLSSessionCache(shared_memory(zone))
            server.tls.context.share_sessions(caches[zone])
        server.tls.context.ticket_keys(server.tls.ticket_keys)
    return caches
