"""The engine as a whole: accepting, limits, draining, stopping, and giving everything back."""

import random
import select
import struct
import threading

import pytest
from dialogue.exchange import server
from support.engine import BYE, INTERNAL, Peer, Port, Rig, descriptors, let_in, ready, suffix, until
from support.listener import PATIENCE

from fastmail._speedups import (
    EVENT_DRAINED,
    EVENT_NAME,
    EVENT_NAME_DROPPED,
    EVENT_NOT_ACCEPTING,
    Engine,
)

GREETING = b"* OK IMAP4 ready\r\n"
LOGIN = b"a LOGIN user pass\r\n"
LISTENERS = 2  # what the listener and the channel count for


# --- limits --------------------------------------------------------------------------------------


def test_too_many_clients() -> None:
    with Rig(engine={"worker_connections": LISTENERS + 2}) as rig:
        first, _second = rig.client(), rig.client()
        assert rig.connect().rest() == b""
        rig.logged(f"[alert] {LISTENERS + 2} worker_connections are not enough")
        assert rig.stat("sessions") == 2
        first.close()
        until(lambda: rig.stat("sessions") == 1)
        assert rig.connect().line() == GREETING


def test_no_connection_left_for_the_auth_server() -> None:
    with Rig(engine={"worker_connections": LISTENERS + 1}) as rig:
        client = rig.client()
        client.send(LOGIN)
        assert client.rest() == INTERNAL
        what = f"{LISTENERS + 1} worker_connections are not enough"
        rig.logged(f"[alert] {what} while in http auth state{suffix(upstream='')}")


def test_no_connection_left_for_the_backend() -> None:
    with Rig(engine={"worker_connections": LISTENERS + 2}, auth_http_keepalive=1) as rig:
        client, auth = rig.ask()
        auth.send(rig.accepting("Content-Length: 0", head="HTTP/1.1 200 OK"))
        assert client.rest() == INTERNAL
        what = f"{LISTENERS + 2} worker_connections are not enough"
        rig.logged(f"[alert] {what} while connecting to upstream{suffix()}")


def test_connections_are_counted() -> None:
    with Rig() as rig:
        assert rig.stat("connections") == LISTENERS
        client, auth = rig.ask()
        assert rig.stat("connections") == LISTENERS + 2
        auth.send(rig.accepting())
        backend = rig.connected()
        let_in(client, backend)
        assert rig.stat("connections") == LISTENERS + 2
        assert (rig.stat("relaying"), rig.stat("logins"), rig.stat("accepted")) == (1, 1, 1)
        client.close()
        rig.quiet()
        assert rig.stat("connections") == LISTENERS


@pytest.mark.directive("multi_accept")
@pytest.mark.parametrize("multi_accept", [False, True])
def test_many_clients_at_once(multi_accept: bool) -> None:
    with Rig(engine={"worker_connections": 400, "multi_accept": multi_accept}) as rig:
        clients = [rig.connect() for _ in range(300)]
        for client in clients:
            assert client.line() == GREETING
        assert rig.stat("sessions") == 300
        for client in clients:
            client.send(b"a LOGOUT\r\n")
        for client in clients:
            assert client.rest() == b"* BYE\r\na OK completed\r\n"
        rig.quiet()


def test_servers_of_one_engine_are_apart() -> None:
    before = descriptors()
    ports = [Port(), Port(), Port()]
    imap, smtp = (server(protocol, auth_http_transport="aiohttp") for protocol in ("imap", "smtp"))
    engine = Engine(
        [(port.socket.fileno(), b"x", one) for port, one in zip(ports, (imap, smtp, imap), strict=True)]
    )
    thread = threading.Thread(target=engine.run)
    thread.start()
    clients = [port.connect() for port in ports]
    assert [client.line()[:5] for client in clients] == [b"* OK ", b"220 m", b"* OK "]
    asked = []
    for client, said in zip(clients, (LOGIN, b"AUTH PLAIN AHVzZXIAcGFzcw==\r\n", LOGIN), strict=True):
        client.send(said)
        assert ready(engine.event_fileno(), PATIENCE)
        [(_, handle, (index, request))] = engine.events()
        asked.append((index, b"\r\nAuth-Protocol: smtp\r\n" in request))
        engine.auth_answered(handle, b"Auth-Status: no\r\n\r\n")
    assert asked == [(0, False), (1, True), (0, False)]
    assert [client.rest() for client in clients] == [
        b"a NO no\r\n" + BYE,
        b"535 5.7.0 no\r\n421 4.7.0 mail.example.com closing connection\r\n",
        b"a NO no\r\n" + BYE,
    ]
    engine.shutdown()
    thread.join()
    engine.close()
    for client, port in zip(clients, ports, strict=True):
        client.close()
        port.socket.close()
    assert descriptors() == before


# --- the end -------------------------------------------------------------------------------------


def posted(rig: Rig) -> list[int]:
    """Wait for events; their kinds."""
    assert ready(rig.engine.event_fileno(), PATIENCE)
    return [kind for kind, _, _ in rig.engine.events()]


def test_shutdown_lets_sessions_finish() -> None:
    with Rig() as rig:
        relayed, backend = rig.relay()
        early = rig.client()
        rig.engine.shutdown()
        assert posted(rig) == [EVENT_NOT_ACCEPTING]
        late = rig.connect()  # the kernel takes it; nobody greets it
        early.send(LOGIN)
        rig.asked().send(rig.accepting())
        other = rig.connected()
        let_in(early, other)
        relayed.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"
        assert rig.thread.is_alive()
        assert late.silent()
        early.close()
        relayed.close()
        rig.thread.join(PATIENCE)
        assert not rig.thread.is_alive()
        assert posted(rig) == [EVENT_DRAINED]
        assert late.silent()


def test_shutdown_without_sessions() -> None:
    with Rig(auth_http_keepalive=2) as rig:
        client, auth = rig.ask()
        auth.send(b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 0\r\n\r\n")
        client.rest()
        rig.quiet()
        rig.engine.shutdown()
        rig.engine.shutdown()
        rig.thread.join(PATIENCE)
        assert not rig.thread.is_alive()


def test_stop_cuts() -> None:
    with Rig() as rig:
        relayed, backend = rig.relay()
        early = rig.client()
        rig.engine.stop()
        assert posted(rig) == [EVENT_DRAINED]
        rig.ended()
        assert [peer.rest() for peer in (relayed, backend, early)] == [b"", b"", b""]


def test_stop_after_shutdown() -> None:
    with Rig() as rig:
        client = rig.client()
        rig.engine.shutdown()
        rig.engine.stop()
        rig.ended()
        assert client.rest() == b""


def test_closing_twice() -> None:
    with Rig() as rig:
        rig.client()
        rig.engine.stop()
        rig.ended()
        rig.engine.close()
        for method in (rig.engine.run, rig.engine.turn, rig.engine.stats, rig.engine.events, rig.engine.stop):
            with pytest.raises(ValueError, match="closed"):
                method()


def test_never_run() -> None:
    before = descriptors()
    port = Port()
    engine = Engine([(port.socket.fileno(), b"x", server())])
    client = port.connect()
    engine.close()
    client.close()
    port.socket.close()
    assert descriptors() == before


def test_what_cannot_be_opened_leaves_nothing_open() -> None:
    before = descriptors()
    port = Port()
    listener = (port.socket.fileno(), b"x", server())
    with pytest.raises(OSError, match="epoll_ctl"):
        Engine([(-1, b"x", server())])
    with pytest.raises(ValueError, match="8 bytes"):
        Engine([listener], connection_counter=bytearray(7))
    with pytest.raises(TypeError):
        Engine([(port.socket.fileno(), "text", server())])  # type: ignore[list-item]
    first = Engine([listener])
    with pytest.raises(ValueError, match="one Engine"):
        Engine([listener])
    first.close()
    Engine([listener]).close()
    port.socket.close()
    assert descriptors() == before


def test_nested_in_another_loop() -> None:
    """turn() serves what is ready and does not wait; fileno() tells when."""
    before = descriptors()
    port, shared = Port(), bytearray(struct.pack("=Q", 41))
    engine = Engine([(port.socket.fileno(), b"x", server())], exclusive=False, connection_counter=shared)
    assert engine.turn()
    client = port.connect()

    def serve(until_readable: Peer) -> None:
        poll = select.poll()
        for descriptor in (engine.fileno(), until_readable.socket.fileno()):
            poll.register(descriptor, select.POLLIN)
        while until_readable.silent():
            assert poll.poll(PATIENCE * 1000)
            assert engine.turn()

    serve(client)
    assert client.line() == GREETING
    client.send(b"a LOGOUT\r\n")
    serve(client)
    assert client.rest() == b"* BYE\r\na OK completed\r\n"
    assert struct.unpack("=Q", shared) == (42,)
    engine.shutdown()
    assert not engine.turn()
    assert not engine.turn()
    engine.close()
    client.close()
    port.socket.close()
    assert descriptors() == before
    shared.append(0)  # the engine has let go of it


# --- clients that leave --------------------------------------------------------------------------


class Phases:
    """Sessions in every phase that a client can leave in."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.others: list[Peer] = []

    def connected(self) -> Peer:
        return self.rig.connect()

    def greeted(self) -> Peer:
        return self.rig.client()

    def in_a_command(self) -> Peer:
        client = self.rig.client()
        client.send(b"a LOGIN us")
        return client

    def in_a_literal(self) -> Peer:
        client = self.rig.client()
        client.send(b"a LOGIN {40}\r\n")
        client.line()
        client.send(b"us")
        return client

    def in_sasl(self) -> Peer:
        client = self.rig.client()
        client.send(b"a AUTHENTICATE PLAIN\r\n")
        client.line()
        return client

    def asking(self) -> Peer:
        client, auth = self.rig.ask()
        self.others.append(auth)
        return client

    def in_a_pause(self) -> Peer:
        client, auth = self.rig.ask()
        auth.send(b"Auth-Status: no\r\nAuth-Wait: 1\r\n\r\n")
        auth.rest()
        return client

    def connecting(self) -> Peer:
        client, backend = self.rig.backend_login()
        self.others.append(backend)
        return client

    def logging_in(self) -> Peer:
        client, backend = self.rig.backend_login()
        backend.send(b"* OK\r\n")
        backend.line()
        self.others.append(backend)
        return client

    def relaying(self) -> Peer:
        client, backend = self.rig.relay()
        client.send(b"b NOOP\r\n")
        backend.line()
        return client

    def relaying_bulk(self) -> Peer:
        client, backend = self.rig.relay()
        backend.socket.setblocking(False)
        backend.socket.send(bytes(1 << 20))
        return client

    def all(self) -> list[Peer]:
        return [
            make()
            for make in (
                self.connected, self.greeted, self.in_a_command, self.in_a_literal, self.in_sasl, self.asking,
                self.in_a_pause, self.connecting, self.logging_in, self.relaying, self.relaying_bulk,
            )
        ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_clients_that_leave_leave_nothing(seed: int) -> None:
    choose = random.Random(seed)
    with Rig(engine={"worker_connections": 1000}) as rig:
        phases = Phases(rig)
        clients = [client for _ in range(4) for client in phases.all()]
        assert rig.stat("sessions") == len(clients)
        choose.shuffle(clients)
        for client in clients:
            client.close(reset=choose.random() < 0.5)
        for other in phases.others:
            other.close(reset=choose.random() < 0.5)
        rig.quiet()
        stats = rig.engine.stats()
        assert (stats["connections"], stats["auth_connections"], stats["timers"]) == (LISTENERS, 0, 0)
        assert rig.connect().line() == GREETING


@pytest.mark.parametrize("keepalive", [0, 2])
def test_stopping_in_every_phase_leaves_nothing(keepalive: int) -> None:
    """What is still open when the engine is closed is closed with it: Rig checks."""
    with Rig(engine={"worker_connections": 1000}, auth_http_keepalive=keepalive) as rig:
        phases = Phases(rig)
        phases.all()
        assert rig.stat("sessions") == 11


def test_name_of_a_client_that_has_gone_is_not_wanted() -> None:
    """Python hears of it, to stop asking."""
    with Rig(protocol="smtp", resolver_timeout=60_000) as rig:
        client = rig.connect()
        assert ready(rig.engine.event_fileno(), PATIENCE)
        ((kind, handle, payload),) = rig.engine.events()
        assert (kind, payload) == (EVENT_NAME, (0, b"127.0.0.1"))
        client.close(reset=True)
        assert ready(rig.engine.event_fileno(), PATIENCE)
        assert rig.engine.events() == [(EVENT_NAME_DROPPED, handle, None)]
        rig.quiet()
