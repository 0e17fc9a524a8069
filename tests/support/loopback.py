"""Brings the loopback device of this network namespace up: ``python -m support.loopback``, or ``up()``."""

import fcntl
import socket
import struct

_SET_FLAGS = 0x8914  # SIOCSIFFLAGS, netdevice(7)
_UP = 1  # IFF_UP


def up() -> None:
    """Needs the right to change the network. Raises OSError."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))


if __name__ == "__main__":
    up()
