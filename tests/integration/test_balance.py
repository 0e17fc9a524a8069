"""Several workers share the clients of their listening sockets."""

import os
import signal
from contextlib import ExitStack

import pytest
from support.authserver import AuthServer
from support.processes import Session, Site, imap, opened
from support.script import Client

CONNECTIONS = 12


def sockets(worker: int) -> int:
    return sum(name.startswith("socket:") for name in opened(worker).values())


@pytest.mark.directive("worker_processes")
def test_sessions_that_stay_are_shared_out(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), workers=2)
    site.start()
    workers = site.wait_workers(2)
    idle = [sockets(worker) for worker in workers]
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(Session(port))
        shares = [sockets(worker) - before for worker, before in zip(workers, idle, strict=True)]
    assert sum(shares) == 600
    assert max(shares) <= 360


@pytest.mark.directive("worker_connections")
def test_nobody_is_closed_while_another_worker_has_room(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), workers=2, connections=200)
    site.start()
    site.wait_workers(2)
    with ExitStack() as stack:
        for _ in range(180):
            stack.enter_context(Session(port))


def served(port: int, stack: ExitStack) -> bool:
    """Whether a client that stays is greeted."""
    client = stack.enter_context(Client(port))
    greeting = client.lines(1)
    assert greeting or client.closed
    return greeting != b""


def test_workers_of_before_a_reload_have_no_room(site: Site, auth: AuthServer, port: int) -> None:
    """Two that drain are not waited for by the one that has taken their place."""
    site.configure(imap(auth, port), workers=2, connections=CONNECTIONS)
    site.start()
    site.wait_workers(2)
    with ExitStack() as stack:
        sessions = [stack.enter_context(Session(port)) for _ in range(2)]
        old = site.workers()
        site.configure(imap(auth, port), workers=1, connections=CONNECTIONS)
        site.signal("reload")
        site.wait_workers(1, besides=old)
        site.wait_log("gracefully shutting down", count=2)
        while served(port, stack):
            pass
        site.wait_log(f"{CONNECTIONS} worker_connections are not enough")
        for session in sessions:
            session.exchange()


def test_worker_that_was_killed_has_no_room(site: Site, auth: AuthServer, port: int) -> None:
    """Nor is the one in its place taken for full."""
    site.configure(imap(auth, port), workers=2, connections=CONNECTIONS)
    site.start()
    workers = site.wait_workers(2)
    with ExitStack() as stack:
        while served(port, stack):
            pass
        os.kill(workers[0], signal.SIGKILL)
        site.wait_workers(1, besides=workers)
        assert served(port, stack)
