"""What runs out: commands, connections, descriptors, ports and time. Other sessions go on in each case."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import BYE, INTERNAL, TIMEOUT, Peer, Rig, suffix, until

from fastmail._speedups import EVENT_DRAINED, EVENT_NOT_ACCEPTING

LOGIN = b"a LOGIN user pass\r\n"
GREETING = b"* OK IMAP4 ready\r\n"
LOOPBACK = (socket.AF_INET, b"\x7f\0\0\0", 8)


def source(address: str, port: int = 0) -> tuple[tuple[int, tuple[str, int]], bytes]:
    """An address for proxy_bind."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, (address, port)), address.encode()


# --- proxy_bind ----------------------------------------------------------------------------------


@pytest.mark.directive("proxy_bind")
def test_source_addresses_in_turn() -> None:
    with Rig(proxy_bind=[source("127.0.0.2"), source("127.0.0.3"), source("::1")]) as rig:
        seen = [rig.backend_login()[1].socket.getpeername()[0] for _ in range(4)]
    assert seen == ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]


@pytest.mark.directive("proxy_bind")
def test_an_address_that_is_not_local_is_passed_over() -> None:
    with Rig(proxy_bind=[source("203.0.113.1"), source("127.0.0.3")]) as rig:
        _, backend = rig.backend_login()
        assert backend.socket.getpeername()[0] == "127.0.0.3"
        failed = "bind(203.0.113.1) failed (99: Cannot assign requested address)"
        rig.logged(f"[crit] {failed} while connecting to upstream{suffix()}")


def test_no_address_is_local() -> None:
    with Rig(proxy_bind=[source("203.0.113.1"), source("203.0.113.2")]) as rig:
        client, auth = rig.ask()
        auth.send(rig.accepting())
        assert client.rest() == INTERNAL

        def failures() -> list[str]:
            return [line.split()[1] for line in rig.log() if "bind(" in line]

        until(lambda: len(failures()) == 2)
        assert failures() == ["bind(203.0.113.1)", "bind(203.0.113.2)"]


def test_addresses_of_another_family_do_not_matter() -> None:
    with Rig(proxy_bind=[source("::1")]) as rig:
        assert rig.backend_login()[1].socket.getpeername()[0] == "127.0.0.1"


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with Rig(proxy_bind=[source("127.0.0.2", port), source("127.0.0.3", port)]) as rig:
            assert rig.backend_login()[1].socket.getpeername() == ("127.0.0.3", port)
            failed = "bind(127.0.0.2) failed (98: Address already in use)"
            rig.logged(f"[crit] {failed} while connecting to upstream{suffix()}")


@pytest.mark.directive("proxy_bind")
def test_a34_out_of_ports_to_one_backend() -> None:
    """In a network of its own with very few ports: see few_ports.py."""
    script = Path(__file__).parent.parent / "support" / "few_ports.py"
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- descriptors ---------------------------------------------------------------------------------


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process cannot open anything."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.directive("accept_mutex_delay")
def test_descriptors_exhausted_on_accept() -> None:
    with Rig(engine={"accept_pause": 30}) as rig:
        client, backend = rig.relay()
        waiting = [Peer(socket.socket()) for _ in range(5)]
        with no_descriptor_left():
            for peer in waiting:
                peer.socket.connect(rig.listener.address[1])
            rig.logged("[crit] accept4() failed (24: Too many open files)")
            client.send(b"b NOOP\r\n")
            assert backend.line() == b"b NOOP\r\n"
            assert all(peer.silent() for peer in waiting)
        for peer in waiting:
            assert peer.line() == GREETING
            peer.close()


def test_descriptors_exhausted_on_connect() -> None:
    with Rig() as rig:
        relayed, backend = rig.relay()
        client = rig.client()
        with no_descriptor_left():
            client.send(LOGIN)
            assert client.rest() == INTERNAL
            what = "socket() failed (24: Too many open files) while in http auth state"
            rig.logged(f"[alert] {what}{suffix(upstream='')}")
        relayed.send(b"b NOOP\r\n")
        assert backend.line() == b"b NOOP\r\n"


@pytest.mark.directive("worker_connections")
def test_a_flood_of_refusals_is_logged_once_a_second() -> None:
    with Rig(engine={"worker_connections": 3}) as rig:
        first = rig.client()
        for _ in range(50):
            assert rig.connect().rest() == b""
        lines = [line for line in raw_log(rig) if "are not enough" in line]
        assert 1 <= len(lines) == len({line[:19] for line in lines})
        first.send(b"a NOOP\r\n")
        assert first.line() == b"a OK completed\r\n"


@pytest.mark.directive("worker_connections")
def test_a_flood_of_logins_without_connections_is_logged_once_a_second() -> None:
    with Rig(engine={"worker_connections": 4}) as rig:
        other = rig.client()
        for _ in range(50):
            client = rig.client()
            client.send(LOGIN)
            assert client.rest() == INTERNAL
        lines = [line for line in raw_log(rig) if "are not enough" in line]
        assert 1 <= len(lines) == len({line[:19] for line in lines})
        other.send(b"a NOOP\r\n")
        assert other.line() == b"a OK completed\r\n"


def raw_log(rig: Rig) -> list[str]:
    """With dates."""
    descriptor = rig._log
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode().splitlines()


@pytest.mark.directive("multi_accept")
@pytest.mark.parametrize("multi_accept", [False, True])
def test_connections_of_one_turn(multi_accept: bool) -> None:
    rig = Rig(engine={"multi_accept": multi_accept})
    try:
        for _ in range(4):
            rig.connect()
        rig.engine.turn()
        assert rig.stat("accepted") == (4 if multi_accept else 1)
    finally:
        rig.thread.start()
        rig.__exit__(None, None, None)


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.directive("worker_shutdown_timeout")
def test_relays_end_others_go_on() -> None:
    with Rig() as rig:
        relayed, backend = rig.relay()
        early = rig.client()
        rig.engine.shutdown()
        rig.engine.cut_relays()
        assert relayed.rest() == b""
        assert backend.rest() == b""
        rig.logged(f"[info] shutdown timeout while proxying{suffix()}")
        early.send(LOGIN)
        rig.asked().send(rig.accepting())
        late = rig.connected()
        late.send(b"* OK\r\n")
        late.line()
        late.send(b"a OK in\r\n")
        assert early.rest() == b"a OK in\r\n"  # it is a relay now
        assert late.rest() == b""
        rig.ended()


def test_kept_auth_connections_do_not_wait_for_a_body_for_ever() -> None:
    with Rig(auth_http_keepalive=2, auth_http_timeout=TIMEOUT) as rig:
        client, auth = rig.ask()
        auth.send(b"HTTP/1.1 200 OK\r\nAuth-Status: no\r\nContent-Length: 5\r\n\r\n")
        assert client.rest() == b"a NO no\r\n" + BYE
        assert auth.rest() == b""
        until(lambda: rig.stat("auth_connections") == 0)


def test_python_learns_of_the_end_even_if_it_takes_no_events() -> None:
    with Rig(auth_http_transport="aiohttp", auth_http_timeout=1, engine={"worker_connections": 4}) as rig:
        for _ in range(70):  # more than the ring holds
            client = rig.client()
            client.send(LOGIN)
            assert client.rest() == INTERNAL
        what = "no room for an auth request while in http auth state"
        rig.logged(f"[alert] {what}{suffix(upstream='')}")
        rig.engine.shutdown()
        rig.thread.join()
        kinds = [kind for kind, _, _ in rig.engine.events()]
        assert kinds[-2:] == [EVENT_NOT_ACCEPTING, EVENT_DRAINED]
        assert rig.engine.events() == []


# --- debug_connection ----------------------------------------------------------------------------


@pytest.mark.directive("debug_connection")
@pytest.mark.parametrize(
    ("networks", "all_levels"),
    [
        ([], False),
        ([(socket.AF_INET, b"\x7f\0\0\1", 32)], True),
        ([LOOPBACK], True),
        ([(socket.AF_INET, b"\x0a\0\0\0", 8)], False),
        ([(socket.AF_UNIX, b"", 0)], False),
        ([(socket.AF_INET6, b"\0" * 16, 0), LOOPBACK], True),
    ],
)
def test_sessions_of_some_clients_are_logged_in_full(
    networks: list[tuple[int, bytes, int]], all_levels: bool
) -> None:
    with Rig(engine={"debug_connection": networks}, level=4) as rig:
        client = rig.client()
        client.send(b"a FOO\r\n" * 5)
        client.rest()
        rig.quiet()
        line = f"[info] client sent too many invalid commands while in auth state{suffix('', '')}"
        if all_levels:
            rig.logged(line)
        else:
            rig.engine.stop()
            rig.thread.join()
            assert rig.log() == []
