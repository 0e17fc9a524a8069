"""Brings the loopback device of this network namespace up: ``python -m support.loopback``, or ``up()``."""

import fcntl
import socket
import struct

_SET_ADDRESS = 0x8916  # SIOCSIFADDR
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS, netdevice(7)
_UP = 1  # IFF_UP


def up() -> None:
    """Needs the right to change the network. Raises OSError."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))


def add(address: str) -> None:
    """Give the device one more address. Needs the right to change the network. Raises OSError."""
    with socket.socket() as any_socket:
        place = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(any_socket, _SET_ADDRESS, struct.pack("16s16s8x", b"lo:1", place))


if __name__ == "__main__":
    up()
