"""TCP ports on 127.0.0.1 that nobody else can take while a test module runs."""

import socket

HOST = "127.0.0.1"

_holders: list[socket.socket] = []


def reserve() -> int:
    """A port for a server that we start, or, left alone, one where connections are refused.

    A bound socket that never listens keeps the kernel from giving the port to anybody who does not ask
    for it by number; with SO_REUSEADDR on both sides the server can still bind it.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((HOST, 0))
    _holders.append(holder)
    port: int = holder.getsockname()[1]
    return port


def release() -> None:
    """Give back all ports that have been reserved."""
    while _holders:
        _holders.pop().close()


def listening(port: int) -> bool:
    """Whether something listens on the port, found out without connecting to it."""
    suffix = f":{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(
            fields[1].endswith(suffix) and fields[3] == "0A"
            for fields in map(str.split, table)
            if len(fields) > 3
        )
