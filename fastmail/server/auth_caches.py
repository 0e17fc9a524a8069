"""Memory for answers of auth servers that all workers share (``auth_http_cache``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastmail._speedups import SharedCache
from fastmail.config import ServerConfiguration
from fastmail.config.zone import Zone
from fastmail.server.zones import shared_memory

AuthCaches = Mapping[Zone, SharedCache]


def auth_caches(servers: Iterable[ServerConfiguration]) -> AuthCaches:
    """The caches of a configuration, each new and empty. Raises StartFailed.

    Made in the master: workers inherit them, and with a reload they end.
    """
    zones = {server["auth_http_cache"].zone for server in servers if server["auth_http_cache"] is not None}
    return {zone: SharedCache(shared_memory(zone)) for zone in zones}
