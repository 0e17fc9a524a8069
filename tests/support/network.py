"""A network of one's own: a loopback interface on which every port is free."""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_INTERFACE_FLAGS = 0x8914  # SIOCSIFFLAGS, see netdevice(7)
_UP = 1  # IFF_UP


@contextmanager
def own_network() -> Iterator[None]:
    """Until its end this thread, and what it starts, has its own loopback interface: all ports are free."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as outside:
        if libc.unshare(_NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, struct.pack("16sH22x", b"lo", _UP))
            yield
        finally:
            if libc.setns(outside.fileno(), _NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "setns")
