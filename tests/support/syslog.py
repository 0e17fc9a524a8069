"""The addresses of a syslog server: datagram sockets that listen, or refuse, without losing their port."""

import socket
from collections.abc import Sequence

from support.closing import Closing

Address = tuple[int, tuple[str, int]]


class Addresses(Closing):
    """One port of several addresses. None of them listens yet."""

    def __init__(self, hosts: Sequence[str] = ("127.0.0.2", "127.0.0.1")) -> None:
        self.sockets: list[socket.socket] = []
        self.port = 0
        try:
            for host in hosts:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                self.sockets.append(socket.socket(family, socket.SOCK_DGRAM))
                self.sockets[-1].bind((host, self.port))
                self.sockets[-1].settimeout(10)
                self.port = self.sockets[-1].getsockname()[1]
                self.refuse(-1)
        except OSError:
            self.close()
            raise
        self.all: list[Address] = [(sock.family, sock.getsockname()[:2]) for sock in self.sockets]

    def refuse(self, index: int) -> None:
        """Connected with itself, the socket is nobody else's."""
        self.sockets[index].connect(self.sockets[index].getsockname())

    def listen(self, index: int) -> None:
        """A connection ends by connecting to no address, which socket.connect() cannot say."""
        name = self.sockets[index].getsockname()
        fresh = socket.socket(self.sockets[index].family, socket.SOCK_DGRAM)
        self.sockets[index].close()
        fresh.bind(name)
        fresh.settimeout(10)
        self.sockets[index] = fresh

    def receive(self, index: int) -> str:
        return self.sockets[index].recv(65536).decode()

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
