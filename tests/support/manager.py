"""A service manager as services see it: a datagram socket to notify, and listening sockets passed on."""

import socket
import struct
import tempfile
from pathlib import Path

from support.closing import Closing
from support.listener import PATIENCE

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_SHELL = 'export LISTEN_PID=$$ LISTEN_FDS=$1 LISTEN_FDNAMES=$2; shift 2; exec "$@"'


class Manager(Closing):
    """Receives what services tell by ``NOTIFY_SOCKET``; with ``abstract`` its name is no file."""

    def __init__(self, *, abstract: bool = False) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="notify-")
        Path(self._directory.name).chmod(0o755)
        path = f"{self._directory.name}/socket"
        self.address = f"@{path}" if abstract else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(f"\0{path}" if abstract else path)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    def next(self) -> tuple[int, dict[str, str]]:
        """Who told something (a pid), and what. Raises TimeoutError if nobody does."""
        text, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        pid, _, _ = _CREDENTIALS.unpack(ancillary[0][2])
        return pid, dict(line.split("=", 1) for line in text.decode().split("\n"))

    def told(self) -> dict[str, str]:
        """The next message, whoever sent it."""
        return self.next()[1]

    def close(self) -> None:
        self._socket.close()
        self._directory.cleanup()


def activated(command: list[str], *names: str) -> list[str]:
    """``command`` with the variables of socket activation: descriptor 3 has the first of these names."""
    return ["sh", "-c", _SHELL, "sh", str(len(names)), ":".join(names), *command]
