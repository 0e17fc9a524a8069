"""A network of one's own: a loopback interface on which every port is free."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from support import loopback

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


@contextmanager
def own_network() -> Iterator[None]:
    """Until its end this thread, and what it starts, has its own loopback interface: all ports are free."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as outside:
        if libc.unshare(_NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        try:
            loopback.up()
            yield
        finally:
            if libc.setns(outside.fileno(), _NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "setns")
