"""Memory that a master's workers share."""

from __future__ import annotations

import contextlib
import mmap

from fastmail.config.zone import Zone
from fastmail.logs import describe
from fastmail.server import StartFailed


def shared_memory(zone: Zone) -> mmap.mmap:
    """New memory for a zone, which forked processes share and core dumps leave out. Raises StartFailed."""
    try:
        memory = mmap.mmap(-1, zone.size)
    except (OSError, OverflowError) as error:
        reason = describe(error) if isinstance(error, OSError) else "(too large)"
        raise StartFailed(f"mmap(MAP_ANON|MAP_SHARED, {zone.size}) failed {reason}") from error
    with contextlib.suppress(OSError):  # it has keys of TLS sessions
        memory.madvise(mmap.MADV_DONTDUMP)
    return memory
