"""Plays the dialogues of the documentation: a client, an auth server and a backend around a real proxy.

A dialogue is lines of ``C: text`` and the like, see docs/concepts.md, and of notes in parentheses.
"""

import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from support.closing import Closing
from support.listener import PATIENCE
from support.ports import HOST

AUTH_PORT = 8000


class Line:
    """A connection of which lines are read one by one."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self._socket = connection
        self._file = connection.makefile("rb")

    def secure(self, trusted: Path) -> None:
        """TLS, as a client that trusts this certificate."""
        context = ssl.create_default_context(cafile=str(trusted))
        self._file.close()
        self._socket = context.wrap_socket(self._socket, server_hostname="auth.test")
        self._file = self._socket.makefile("rb")

    def say(self, text: str) -> None:
        self._socket.sendall(text.encode() + b"\r\n")

    def hear(self, text: str) -> None:
        """The next line is this; ``…`` in it is anything."""
        line = self._file.readline().decode()
        pattern = ".*".join(map(re.escape, text.split("…")))
        assert re.fullmatch(pattern + "\r\n", line), f"{line!r} and not {text!r}"

    def shut(self) -> None:
        """End our direction of the connection."""
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def ended(self) -> None:
        """The peer has closed, and has said nothing else before."""
        rest = self._file.read()
        assert rest == b"", rest

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Stage(Closing):
    """The three peers. The auth server listens on AUTH_PORT, backends on the ports given."""

    def __init__(self, port: int, backends: tuple[int, ...], trusted: Path, *, tls: bool) -> None:
        self._servers = {number: socket.create_server((HOST, number)) for number in (AUTH_PORT, *backends)}
        self._trusted = trusted
        self._client = Line(socket.create_connection((HOST, port), PATIENCE))
        if tls:
            self._client.secure(trusted)
        self._auth: Line | None = None
        self._backend: Line | None = None
        self._backend_port = 0
        self._previous = ""

    def play(self, text: str) -> None:
        """Raises AssertionError where the dialogue is not true."""
        notes: dict[str, Callable[[], None]] = {
            "(TLS handshake)": lambda: self._client.secure(self._trusted),
            "(fastmail closes the connection)": self._client.ended,
            "(1 second)": lambda: None,
        }
        lines = text.splitlines()
        for line in lines:
            who, _, words = line.partition(": ")
            try:
                if line in notes:
                    self._turn("")
                    notes[line]()
                else:
                    self._turn(who)
                    self._line(who, words)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"at {line!r}: {error}") from None
            self._previous = who
        self._turn("")
        if "(fastmail closes the connection)" not in lines:
            self._client.shut()
        self._client.ended()

    def _turn(self, who: str) -> None:
        """What the speaker before has to add: the empty line after headers."""
        if who != "Q" and self._previous == "Q":
            self._asked().hear("")
        if who != "A" and self._previous == "A":
            assert self._auth is not None
            self._auth.say("")
            self._auth.close()
            self._auth = None

    def _line(self, who: str, words: str) -> None:
        match who:
            case "C":
                self._client.say(words)
            case "S":
                self._client.hear(words)
            case "Q":
                self._asked().hear(words)
            case "A":
                if words.startswith("Auth-Port: "):
                    self._backend_port = int(words.rpartition(" ")[2])
                self._asked().say(words)
            case "B":
                self._reached().say(words)
            case "F":
                self._reached().hear(words)
            case _:
                raise AssertionError("nobody says this")

    def _asked(self) -> Line:
        if self._auth is None:
            self._auth = self._accept(AUTH_PORT)
        return self._auth

    def _reached(self) -> Line:
        if self._backend is None:
            self._backend = self._accept(self._backend_port)
        return self._backend

    def _accept(self, port: int) -> Line:
        self._servers[port].settimeout(PATIENCE)
        return Line(self._servers[port].accept()[0])

    def close(self) -> None:
        for line in (self._client, self._auth, self._backend):
            if line is not None:
                line.close()
        for server in self._servers.values():
            server.close()
