"""The protocols of systemd: sd_notify(3) and sd_listen_fds(3)."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from support.authserver import AuthServer
from support.listener import PATIENCE
from support.manager import Manager, activated
from support.ports import HOST, listening, reserve
from support.processes import USER, Session, Site, alive, imap, wait_for

ONE = "worker processes: 1"


@pytest.fixture
def manager() -> Iterator[Manager]:
    with Manager() as manager:
        yield manager


def ready(pid: int, status: str = ONE) -> dict[str, str]:
    return {"READY": "1", "MAINPID": str(pid), "STATUS": status}


def launch(site: Site, manager: Manager) -> "subprocess.Popen[bytes]":
    """Start as a service manager does, with ``daemon`` as the configuration has it."""
    return site.launch(site.command(), manager.environment)


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_means_that_workers_serve(site: Site, auth: AuthServer, port: int, abstract: bool) -> None:
    site.configure(imap(auth, port), main=USER, workers=2)
    with Manager(abstract=abstract) as manager:
        child = site.start(environment=manager.environment)
        assert manager.next() == (child.pid, ready(child.pid, "worker processes: 2"))
        assert len(site.wait_workers(2)) == 2
        with Session(port) as session:
            session.exchange()
        os.kill(child.pid, signal.SIGTERM)
        assert manager.told() == {"STOPPING": "1", "STATUS": "exiting"}
        assert child.wait(10) == 0


def test_daemon_on_stays_in_the_foreground(site: Site, auth: AuthServer, port: int, manager: Manager) -> None:
    site.configure(imap(auth, port), main="daemon on;", log="error.log notice")
    child = launch(site, manager)
    assert manager.told() == ready(child.pid)
    assert site.pid == child.pid
    assert '[notice] "daemon on" ignored: NOTIFY_SOCKET is set' in site.messages()


def test_no_worker_is_not_ready(site: Site, auth: AuthServer, port: int, manager: Manager) -> None:
    site.configure(imap(auth, port), main="working_directory /nowhere;")
    launch(site, manager)
    assert manager.told() == {"STATUS": "worker processes: 0"}
    site.wait_log("cannot be respawned")


def test_reload(site: Site, auth: AuthServer, port: int, manager: Manager) -> None:
    site.configure(imap(auth, port))
    child = site.start(environment=manager.environment)
    assert manager.told() == ready(child.pid)
    site.configure(imap(auth, port), workers=2)
    before = time.monotonic_ns() // 1000
    site.signal("reload")
    reloading = manager.told()
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.told() == ready(child.pid, "worker processes: 2")
    site.configuration.write_text("nonsense;\n")
    os.kill(child.pid, signal.SIGHUP)
    assert manager.told()["RELOADING"] == "1"
    problem = f'unknown directive "nonsense" in {site.configuration}:1'
    assert manager.told() == ready(child.pid, f"reload failed: {problem}")
    with Session(port) as session:
        session.exchange()


def test_quit(site: Site, auth: AuthServer, port: int, manager: Manager) -> None:
    site.configure(imap(auth, port))
    child = site.start(environment=manager.environment)
    assert manager.told() == ready(child.pid)
    with Session(port) as session:
        site.signal("quit")
        assert manager.told() == {"STOPPING": "1", "STATUS": "shutting down: sessions run to their end"}
        session.exchange()
    assert child.wait(10) == 0


def test_without_a_master(site: Site, auth: AuthServer, port: int, manager: Manager) -> None:
    site.configure(imap(auth, port), main="master_process off;")
    child = launch(site, manager)
    assert manager.told() == ready(child.pid, "serving")
    with Session(port) as session:
        session.exchange()
    os.kill(child.pid, signal.SIGHUP)
    assert manager.told()["RELOADING"] == "1"
    assert manager.told() == ready(child.pid, "serving")
    os.kill(child.pid, signal.SIGTERM)
    assert manager.told()["STOPPING"] == "1"
    assert child.wait(10) == 0


def test_a_failed_start_says_why(site: Site, auth: AuthServer, port: int, manager: Manager) -> None:
    site.configuration.write_text("nonsense;\n")
    assert launch(site, manager).wait(10) == 1
    assert manager.told() == {"STATUS": f'unknown directive "nonsense" in {site.configuration}:1'}
    site.configure(imap(auth, port), log="nowhere/error.log")
    assert launch(site, manager).wait(10) == 1
    path = site.directory / "nowhere/error.log"
    assert manager.told() == {
        "STATUS": f'open() "{path}" failed (2: No such file or directory)',
        "ERRNO": "2",
    }


def test_a_manager_that_is_gone_is_no_obstacle(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    site.start(environment={"NOTIFY_SOCKET": "/nowhere/notify"})
    site.wait_log(r'\[warn\] .* sendto\(\) to NOTIFY_SOCKET "/nowhere/notify" failed \(2: ')
    with Session(port) as session:
        session.exchange()


def upgraded(site: Site, auth: AuthServer, port: int, manager: Manager) -> tuple[int, int]:
    """Two masters of one service, the old one and the new."""
    site.configure(imap(auth, port))
    old = site.start(environment=manager.environment).pid
    assert manager.told() == ready(old)
    os.kill(old, signal.SIGUSR2)
    new = site.adopt(old)
    assert manager.next() == (new, ready(new))
    return old, new


def test_the_main_process_after_an_upgrade(site: Site, auth: AuthServer, port: int, manager: Manager) -> None:
    old, new = upgraded(site, auth, port, manager)
    os.kill(old, signal.SIGQUIT)
    assert manager.next() == (old, {"MAINPID": str(new)})
    wait_for("the old master's end", lambda: not alive(old))
    os.kill(new, signal.SIGTERM)
    assert manager.next() == (new, {"STOPPING": "1", "STATUS": "exiting"})


def test_the_main_process_after_an_upgrade_taken_back(
    site: Site, auth: AuthServer, port: int, manager: Manager
) -> None:
    old, new = upgraded(site, auth, port, manager)
    os.kill(old, signal.SIGHUP)
    assert manager.next()[1]["RELOADING"] == "1"
    assert manager.next() == (old, ready(old, "worker processes: 2"))
    os.kill(new, signal.SIGQUIT)
    assert manager.next() == (new, {"MAINPID": str(old)})
    assert manager.next() == (old, ready(old, "worker processes: 2"))


def test_socket_activation(site: Site, auth: AuthServer, manager: Manager) -> None:
    """TCP and unix sockets of a socket unit; those that nobody asks for are closed, not left to clients."""
    path = site.directory / "imap.sock"
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server((HOST, 0)))
        ipv6 = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(path))
        unix.listen()
        stray = stack.enter_context(socket.create_server((HOST, 0)))
        nameless = stack.enter_context(socket.create_server((HOST, 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        port, port6, stray_port, nameless_port = (
            sock.getsockname()[1] for sock in (tcp, ipv6, stray, nameless)
        )
        site.configure(imap(auth, port, f"listen unix:{path}; listen [::1]:{port6};"), log="error.log notice")
        command = activated(site.command(), "tcp", "ipv6", "unix", "stray", "udp", "")
        child = site.launch(command, manager.environment, (tcp, ipv6, unix, stray, udp, nameless))
        assert manager.told() == ready(child.pid)
    for name, number in (('socket #6 "stray"', stray_port), ("socket #8", nameless_port)):
        shown = f'{name} of systemd has no "listen" with its address {HOST}:{number}, closed'
        assert f"[warn] {shown}" in site.messages()
    text = 'socket #7 "udp" of systemd is no listening stream socket, closed'
    assert text in site.bootstrap_log.read_text()
    assert not listening(stray_port)
    for address in (port, str(path)):
        with Session(address) as session:
            session.exchange()
    with socket.create_connection(("::1", port6), PATIENCE) as client:
        assert client.recv(100) == b"* OK IMAP4 ready\r\n"
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(10) == 0
    assert path.exists()  # it is the socket unit's


def test_sockets_passed_to_another_process_are_left_alone(site: Site, auth: AuthServer, port: int) -> None:
    """A wrapper script that forgets the variables: 3 may be anything here."""
    site.configure(imap(auth, port))
    site.start(environment={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    with Session(port) as session:
        session.exchange()


def test_systemd_socket_activate(site: Site, auth: AuthServer, port: int) -> None:
    """systemd's own tool opens the sockets, and starts the service for the first client."""
    stray = reserve()
    site.configure(imap(auth, port), log="error.log notice")
    command = ["systemd-socket-activate", "-l", f"{HOST}:{port}", "-l", f"{HOST}:{stray}", "--fdname=a:b"]
    child = site.launch([*command, "-E", "PYTHONPATH", *site.command("-g", "daemon off;")], {})
    wait_for("the tool", lambda: f"Listening on {HOST}:{stray}" in site.output())
    with Session(port) as session:
        session.exchange()
    site.wait_log(rf'"b" of systemd has no "listen" with its address {HOST}:{stray}, closed')
    assert site.pid == child.pid
    assert not listening(stray)
