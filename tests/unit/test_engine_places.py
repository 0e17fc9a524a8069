"""Engines that share a listening socket, as workers do: which of them takes a client."""

import contextlib
import os
import threading

import pytest
from support.engine import Peer, Port, descriptors, descriptors_left, until
from support.listener import PATIENCE
from support.ports import HOST

from fastmail._speedups import Engine, Server

CONNECTIONS = 12
ROOM = CONNECTIONS - 2
"""Clients that an engine has connections for; a listener and its orders count too."""


class Workers:
    """Engines on one listening socket, each on a thread, with a byte each to tell each other their room."""

    def __init__(self, number: int = 2, **options: object) -> None:
        self._before = descriptors()
        self.port = Port()
        self.places = bytearray(number)
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.clients: list[Peer] = []
        self.engines = [self._engine(place, options) for place in range(number)]
        self._threads = [threading.Thread(target=engine.run, daemon=True) for engine in self.engines]

    def _engine(self, place: int, options: dict[str, object]) -> Engine:
        server = Server(
            protocol="imap", server_name=b"x", auth_http=(2, (HOST, 1)), auth_http_host=b"x",
            auth_http_uri=b"/",
        )  # fmt: skip
        given: dict[str, object] = {"worker_connections": CONNECTIONS} | options
        listeners = [(self.port.socket.fileno(), b"x", server)]
        return Engine(listeners, places=(self.places, place, self.bell), **given)  # type: ignore[arg-type]

    def __enter__(self) -> "Workers":
        self.port.socket.setblocking(False)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for engine, thread in zip(self.engines, self._threads, strict=True):
            engine.stop()
            thread.join(PATIENCE)
            engine.close()
        for client in self.clients:
            client.close()
        assert set(self.places) == {0}
        self.port.socket.close()
        os.close(self.bell)
        assert descriptors() == self._before

    def client(self) -> bytes:
        """A client that stays; what it is greeted with, nothing if it is closed instead."""
        peer = self.port.connect()
        self.clients.append(peer)
        with contextlib.suppress(EOFError):
            return peer.line()
        return b""

    def sessions(self) -> list[int]:
        return [engine.stats()["sessions"] for engine in self.engines]


def test_nobody_is_closed_while_another_worker_has_room() -> None:
    with Workers() as workers:
        assert all(workers.client() for _ in range(2 * ROOM))
        assert workers.sessions() == [ROOM, ROOM]
        assert not workers.client()  # as with nginx, when all are full


def test_idle_workers_take_clients_in_turn() -> None:
    with Workers(3, worker_connections=1000) as workers:
        assert all(workers.client() for _ in range(120))
        # About 40 each; fewer where a busy machine holds one back. Without turns, one of them has over 100.
        assert max(workers.sessions()) <= 90


def test_room_that_a_session_has_left_is_used_again() -> None:
    with Workers() as workers:
        for _ in range(2 * ROOM):
            workers.client()
        for _ in range(10):
            workers.clients.pop(0).close()
            until(lambda: sum(workers.sessions()) < 2 * ROOM)
            assert workers.client()


def test_worker_that_leaves_has_no_room() -> None:
    with Workers() as workers:
        workers.engines[1].shutdown()
        until(lambda: workers.places[1] == 0)
        assert all(workers.client() for _ in range(ROOM))
        assert not workers.client()


def test_place_must_exist() -> None:
    with Workers() as workers, pytest.raises(ValueError, match="no such place"):
        Engine([], places=(bytearray(2), 2, workers.bell))


# Descriptors


@pytest.mark.parametrize(("left", "call"), [(0, "epoll_create1"), (1, "eventfd"), (2, "eventfd")])
def test_no_descriptor_for_an_engine(left: int, call: str) -> None:
    before = descriptors()
    with descriptors_left(left), pytest.raises(OSError, match=rf"\[Errno 24\] {call}\(\) failed"):
        Engine([])
    assert descriptors() == before
