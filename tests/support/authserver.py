"""A scripted auth_http server that keeps the bytes of every request (reference section 6)."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from support.listener import CLOSE, Connection, Listener, Moves


@dataclass(frozen=True)
class Request:
    """One request: its raw bytes, and its headers by their lower-case names."""

    raw: bytes

    @cached_property
    def headers(self) -> dict[str, str]:
        lines = self.raw.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.removeprefix(" ") for name, _, value in pairs}


Judge = Callable[[Request], Moves]


def answer(
    status: str | None = "OK", *lines: str, port: int | str | None = None, server: str = "127.0.0.1"
) -> bytes:
    """An answer with ``Auth-Status``, address and port (each left out when None) and further header lines."""
    head = ["HTTP/1.0 200 OK"]
    if status is not None:
        head.append(f"Auth-Status: {status}")
    if port is not None:
        head += [f"Auth-Server: {server}", f"Auth-Port: {port}"]
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


class AuthServer(Listener):
    """Answers by ``judge`` if given, else from the list set with script(); if that is empty it closes."""

    def __init__(self, judge: Judge | None = None, *, path: str | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        self._judge = judge or self._next_answer
        self._answers: list[Moves] = []
        self._lock = threading.Lock()
        super().__init__(path=path, port=port)

    def script(self, answers: Sequence[Moves]) -> None:
        """What the next requests are answered, in order; earlier records are dropped."""
        self.forget()
        with self._lock:
            self.requests = []
            self._answers = list(answers)

    def serve(self, connection: Connection) -> None:
        while True:
            request = Request(connection.read_until(b"\r\n\r\n"))
            with self._lock:
                self.requests.append(request)
            connection.perform(self._judge(request))

    def _next_answer(self, request: Request) -> Moves:
        with self._lock:
            return self._answers.pop(0) if self._answers else CLOSE
