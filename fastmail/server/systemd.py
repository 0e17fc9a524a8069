"""What systemd tells a service, and what it wants to hear: sd_listen_fds(3) and sd_notify(3).

The variables are taken out of the environment, so that no child takes them for its own.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from fastmail.logs import Log
from fastmail.server import StartFailed
from fastmail.server.sockets import Key, key_of

NOTIFY_SOCKET = "NOTIFY_SOCKET"

_FIRST = 3  # SD_LISTEN_FDS_START


class Notifier:
    """Tells the service manager how the service is; without one it does nothing and is false."""

    def __init__(self, address: str = "") -> None:
        """``address`` is a path, or a name in the abstract namespace behind ``@``."""
        self._address = address

    @classmethod
    def of_environment(cls) -> Notifier:
        """Take ``NOTIFY_SOCKET``."""
        return cls(os.environ.pop(NOTIFY_SOCKET, ""))

    def __bool__(self) -> bool:
        return bool(self._address)

    def environment(self) -> dict[str, str]:
        """What a new binary needs to go on telling."""
        return {NOTIFY_SOCKET: self._address} if self._address else {}

    def ready(self, log: Log, status: str) -> None:
        """We serve, and we are the main process: after the start, a reload, an upgrade and a way back."""
        self._tell(log, "READY=1", f"MAINPID={os.getpid()}", f"STATUS={status}")

    def reloading(self, log: Log) -> None:
        """To be followed by ready(). The time is what ``Type=notify-reload`` asks for."""
        usec = time.monotonic_ns() // 1000
        self._tell(log, "RELOADING=1", f"MONOTONIC_USEC={usec}", "STATUS=reading the configuration")

    def stopping(self, log: Log, status: str) -> None:
        self._tell(log, "STOPPING=1", f"STATUS={status}")

    def status(self, log: Log, status: str) -> None:
        self._tell(log, f"STATUS={status}")

    def leave_to(self, log: Log, pid: int) -> None:
        """Another master is the main process from now on."""
        self._tell(log, f"MAINPID={pid}")

    def failed(self, log: Log, error: Exception) -> None:
        """Why the start failed; with the errno, if the system refused something."""
        cause = error.__cause__ if isinstance(error, StartFailed) else error
        number = [f"ERRNO={cause.errno}"] if isinstance(cause, OSError) and cause.errno else []
        self._tell(log, f"STATUS={error}", *number)

    def _tell(self, log: Log, *lines: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        text = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.connect(address)
                sock.sendall(text.encode(errors="surrogateescape"))
        except OSError as error:
            log.warn(f'sendto() to {NOTIFY_SOCKET} "{self._address}" failed', error)


class Activated:
    """The listening sockets that a socket unit has passed, by their address."""

    def __init__(self, log: Log) -> None:
        """Take ``LISTEN_FDS`` and what belongs to it. What cannot be accepted from is logged and closed."""
        pid, count, names = (os.environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
        self._sockets: dict[Key, tuple[str, socket.socket]] = {}
        if pid != str(os.getpid()) or not (count.isascii() and count.isdigit()):
            return  # not there, or passed to somebody else
        labels = names.split(":")
        for index in range(int(count)):
            name = f' "{labels[index]}"' if index < len(labels) and labels[index] else ""
            if not self._take(_FIRST + index, f"socket #{_FIRST + index}{name} of systemd", log):
                return

    def claim(self, name: Key) -> socket.socket | None:
        """The socket of an address: the caller's from now on."""
        return self._sockets.pop(name, ("", None))[1]

    def close(self, log: Log) -> None:
        """Close those that no ``listen`` asks for, and say so: clients would wait in them for nobody."""
        for label, sock in self._sockets.values():
            log.warn(f'{label} has no "listen" with its address {_shown(sock)}, closed')
            sock.close()
        self._sockets.clear()

    def _take(self, number: int, label: str, log: Log) -> bool:
        """False: there is no such descriptor, and so none behind it."""
        try:
            sock = socket.socket(fileno=number)
        except OSError as error:
            log.emerg(f"getsockname() of {label} failed", error)
            try:
                os.close(number)  # a FIFO or a device
            except OSError:
                return False
            return True
        stream = sock.type == socket.SOCK_STREAM
        if not stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            log.warn(f"{label} is no listening stream socket, closed")
            sock.close()
            return True
        sock.set_inheritable(False)
        sock.setblocking(False)
        self._sockets[key_of(sock)] = label, sock
        return True


def _shown(sock: socket.socket) -> str:
    address: Any = sock.getsockname()
    if sock.family == socket.AF_INET6:
        return f"[{address[0]}]:{address[1]}"
    if sock.family == socket.AF_INET:
        return f"{address[0]}:{address[1]}"
    return f"unix:{os.fsdecode(address)}"
