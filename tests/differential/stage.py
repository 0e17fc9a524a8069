"""One proxy with an auth server and a backend of its own, on which cases are played one by one."""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from case import BACKEND_PORT, DEAD_PORT, Case
from observation import Normaliser, Observation
from servers import NAMES, SERVERS, mail_block, protocol
from support import ports
from support.authserver import AuthServer
from support.backend import Backend
from support.dns import NameServer
from support.listener import Connection, Listener, Move, Moves, Trickle
from support.processes import opened
from support.proxy import Proxy
from support.script import Client

SILENCE = 5.0
"""Seconds until nothing more is expected: in some cases nginx is silent, or does not connect, where we do."""


class Stage:
    """Starts everything; stop() ends it. ``protocols`` are those that the proxy supports."""

    def __init__(self, kind: str, protocols: Iterable[str]) -> None:
        names = [name for name in SERVERS if protocol(name) in protocols]
        self._ports = {name: ports.reserve() for name in names}
        barrier = ports.reserve()
        dead = ports.reserve()
        self._directory = tempfile.TemporaryDirectory(prefix="auth-")
        path = f"{self._directory.name}/auth"
        Path(self._directory.name).chmod(0o755)
        self._auth = AuthServer()
        self._unix_auth = AuthServer(path=path)
        Path(path).chmod(0o666)
        self._backend = Backend()
        self._texts = {BACKEND_PORT: str(self._backend.port), DEAD_PORT: str(dead)}
        self._barrier = barrier
        self._names = NameServer(NAMES).__enter__()
        block = mail_block(self._ports, self._auth.port, path, dead, self._names.port)
        block += f"\nserver {{ listen 127.0.0.1:{barrier}; protocol imap; }}"
        self._proxy = Proxy(kind, block, [*self._ports.values(), barrier])
        named = {**self._ports, "BARRIER": barrier, "AUTH": self._auth.port, "BACKEND": self._backend.port}
        named["DEAD"] = dead
        self._normaliser = Normaliser(
            {path: "AUTH_PATH", **{str(port): name for name, port in named.items()}}
        )
        self._idle = self._another_turn()

    def play(self, case: Case) -> Observation:
        """Play the case and wait until the session is over in all its parts."""
        auth = self._unix_auth if case.server.endswith("-unix") else self._auth
        auth.script([self._filled(answer) for answer in case.auth])
        self._backend.script(case.backend, case.go_aheads)
        start = self._proxy.log_size
        with Client(self._ports[case.server], patience=SILENCE) as client:
            client.play(case.whole_talk)
            client.finish()
        _wait(lambda: len(auth.connections) >= len(case.auth))
        auth_bytes = self._records(auth)
        _wait(lambda: len(self._backend.connections) >= bool(case.backend))
        backend_bytes = self._records(self._backend)
        _wait(lambda: len(opened(self._proxy.worker)) <= self._idle)  # the client may have left it
        self._idle = self._another_turn()
        return Observation(
            client=self._normaliser.bytes(bytes(client.received))
            + ("<kept open>" if client.kept_open else ""),
            auth=auth_bytes,
            backend=backend_bytes,
            log=self._log(start),
        )

    def stop(self) -> None:
        """End the proxy, then its peers."""
        self._proxy.close()
        for listener in (self._auth, self._unix_auth, self._backend):
            listener.close()
        self._names.__exit__(None, None, None)
        self._directory.cleanup()

    def _another_turn(self) -> int:
        """Let the worker serve a client of our own; how many descriptors it has open besides."""
        with Client(self._barrier) as barrier:
            barrier.lines(1)  # perhaps in the case's last turn, whose log lines come at its end
            barrier.send(b"a NOOP\r\n")
            barrier.lines(1)
            return len(opened(self._proxy.worker)) - 1

    def _log(self, start: int) -> tuple[str, ...]:
        return tuple(
            line for line in self._normaliser.log(self._proxy.log(start)) if "127.0.0.1:BARRIER" not in line
        )

    def _records(self, listener: Listener) -> tuple[str, ...]:
        listener.wait_ended(SILENCE)

        def text(connection: Connection) -> str:
            still = "" if connection.ended.is_set() else "<still open>"
            return self._normaliser.bytes(bytes(connection.received)) + still

        return tuple(map(text, listener.connections))

    def _filled(self, moves: Moves) -> Moves:
        return tuple(map(self._move, moves)) if isinstance(moves, tuple) else self._move(moves)

    def _move(self, move: Move) -> Move:
        if isinstance(move, Trickle):
            return Trickle(self._fill(move.data), move.pause)
        return self._fill(move) if isinstance(move, bytes) else move

    def _fill(self, data: bytes) -> bytes:
        for text, value in self._texts.items():
            data = data.replace(text.encode(), value.encode())
        return data


def _wait(done: Callable[[], bool]) -> None:
    """That something is missing shows where the records are compared."""
    deadline = time.monotonic() + SILENCE
    while not done() and time.monotonic() < deadline:
        time.sleep(0.005)
