"""Memory for TLS sessions that all workers share (``ssl_session_cache shared:NAME:SIZE``)."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping

from fastmail._speedups import TLSSessionCache
from fastmail.config import ServerConfiguration
from fastmail.config.session_cache import Zone
from fastmail.logs import describe
from fastmail.server import StartFailed

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
                caches[zone] = old.get(zone) or _new(zone)
            server.tls.context.share_sessions(caches[zone])
        server.tls.context.ticket_keys(server.tls.ticket_keys)
    return caches


def _new(zone: Zone) -> TLSSessionCache:
    try:
        return TLSSessionCache(mmap.mmap(-1, zone.size))
    except (OSError, OverflowError) as error:
        reason = describe(error) if isinstance(error, OSError) else "(too large)"
        raise StartFailed(f"mmap(MAP_ANON|MAP_SHARED, {zone.size}) failed {reason}") from error
