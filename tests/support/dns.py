"""A name server on a free port of 127.0.0.1, over UDP and TCP, that can be made to misbehave."""

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

A, CNAME, PTR, AAAA, DNAME = 1, 5, 12, 28, 39
TYPES = {"A": A, "CNAME": CNAME, "PTR": PTR, "AAAA": AAAA, "DNAME": DNAME}
NXDOMAIN, SERVFAIL, REFUSED, NOTIMP, FORMERR = 3, 2, 5, 4, 1

Labels = Sequence[bytes]


def labels(name: str) -> list[bytes]:
    return [label.encode() for label in name.split(".") if label]


def packed(name: Labels) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name) + b"\0"


@dataclass
class Record:
    """``value`` is an address, a name, or the labels of one that no text can express."""

    kind: str
    value: str | Labels
    ttl: int = 300
    name: str | None = None  # the question's, if None

    def data(self) -> bytes:
        if self.kind in ("A", "AAAA"):
            assert isinstance(self.value, str)
            return ipaddress.ip_address(self.value).packed
        return packed(labels(self.value) if isinstance(self.value, str) else self.value)


@dataclass
class Question:
    id: int
    name: str
    kind: str
    raw: bytes
    tcp: bool = False


@dataclass
class Reply:
    """What is answered; the fields are for what an honest server would not do."""

    records: Sequence[Record] = ()
    code: int = 0
    truncated: bool = False
    id: int | None = None
    question: str | None = None

    def packet(self, question: Question) -> bytes:
        flags = 0x8180 | self.code | (0x200 if self.truncated else 0)
        number = question.id if self.id is None else self.id
        name = question.name if self.question is None else self.question
        out = struct.pack("!HHHHHH", number, flags, 1, len(self.records), 0, 0)
        out += packed(labels(name)) + struct.pack("!HH", TYPES[question.kind], 1)
        for record in self.records:
            owner = labels(record.name if record.name is not None else question.name)
            data = record.data()
            out += packed(owner) + struct.pack("!HHIH", TYPES[record.kind], 1, record.ttl, len(data)) + data
        return out


Answers = Callable[[Question], Reply | bytes | Sequence[Reply | bytes] | None]


@dataclass
class Zone:
    """Answers from a table; a name that is not in it does not exist."""

    table: dict[tuple[str, str], Reply] = field(default_factory=dict)

    def __call__(self, question: Question) -> Reply:
        found = self.table.get((question.name.lower(), question.kind))
        if found is not None:
            return found
        exists = any(name == question.name.lower() for name, _ in self.table)
        return Reply(code=0 if exists else NXDOMAIN)


def reverse(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer


def client(address: str, name: str, *, back: str | None = None) -> dict[tuple[str, str], Reply]:
    """A client's two records; ``back`` is where the name leads, if not to the client."""
    kind = "AAAA" if ":" in (back or address) else "A"
    return {
        (reverse(address), "PTR"): Reply([Record("PTR", name)]),
        (name.lower(), kind): Reply([Record(kind, back or address)]),
    }


def _sockets() -> tuple[socket.socket, socket.socket]:
    """TCP and UDP of one port. What is free in the one may be taken in the other, by anybody's question."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp


class NameServer:
    """Asks ``answers`` about each question: a reply, several, raw bytes, or None for silence."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.questions: list[Question] = []
        self._tcp, self._udp = _sockets()
        self.port: int = self._tcp.getsockname()[1]
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._serve, self._serve_tcp)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._udp, self._tcp):
            sock.shutdown(socket.SHUT_RDWR) if sock is self._tcp else sock.sendto(b"", sock.getsockname())
        for thread in self._threads:
            thread.join(10)
        self._udp.close()
        self._tcp.close()

    @property
    def asked(self) -> list[str]:
        """``NAME KIND`` of each question so far."""
        return [f"{question.name} {question.kind}" for question in self.questions]

    def _packets(self, data: bytes, tcp: bool) -> list[bytes]:
        at, name = 12, []
        while data[at]:
            name.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
            at += data[at] + 1
        kind = {number: text for text, number in TYPES.items()}[struct.unpack("!H", data[at + 1 : at + 3])[0]]
        question = Question(struct.unpack("!H", data[:2])[0], ".".join(name), kind, data, tcp)
        self.questions.append(question)
        replies = self.answers(question)
        if replies is None:
            return []
        several = [replies] if isinstance(replies, (Reply, bytes)) else replies
        return [reply if isinstance(reply, bytes) else reply.packet(question) for reply in several]

    def _serve(self) -> None:
        while True:
            data, peer = self._udp.recvfrom(4096)
            if not data:
                return
            for packet in self._packets(data, False):
                self._udp.sendto(packet, peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                size = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))[0]
                for packet in self._packets(connection.recv(size, socket.MSG_WAITALL), True):
                    connection.sendall(struct.pack("!H", len(packet)) + packet)
