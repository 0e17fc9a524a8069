"""Upgrade on the fly (reference 11.3): two masters, one set of listening sockets, and no session lost."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.ports import listening
from support.processes import Session, Site, alive, imap, title, wait_for

CRIT = (
    "the changing binary signal is ignored: you should shutdown or terminate before "
    "either old or new binary's process"
)


def start(site: Site, daemon: bool = True) -> None:
    if daemon:
        site.start_daemon()
    else:
        site.start()
    site.wait_workers(1)


@pytest.mark.directive("daemon")
@pytest.mark.parametrize("daemon", [True, False])
def test_new_master_takes_over(site: Site, auth: AuthServer, port: int, daemon: bool) -> None:
    path = site.directory / "imap.sock"
    site.configure(imap(auth, port, f"listen unix:{path};"))
    start(site, daemon)
    old_pid_file = Path(f"{site.pid_file}.oldbin")
    with Session(port) as session, Session(str(path)) as other:
        old, new = site.upgrade()
        assert int(old_pid_file.read_text()) == old
        assert title(new).startswith("fastmail: master process ")
        inherited = re.search(r'using inherited sockets from "(\d+;\d+;)"$', site.bootstrap_log.read_text())
        assert inherited is not None
        site.wait_log(rf"\[notice\] {old}#0: start new binary process {new}$")
        assert "bind() to" not in "\n".join(site.log())
        os.kill(old, signal.SIGQUIT)
        site.wait_log("gracefully shutting down")
        session.exchange()
        other.exchange()
        for address in (port, str(path)):
            with Session(address) as another:
                another.exchange()
    wait_for("the old master's end", lambda: not alive(old))
    assert not old_pid_file.exists()
    assert site.pid == new
    with Session(str(path)) as another:
        another.exchange()
    os.kill(new, signal.SIGQUIT)
    wait_for("the new master's end", lambda: not alive(new))
    assert not path.exists() and not site.pid_file.exists()


@pytest.mark.parametrize("hup", [True, False])
def test_the_way_back(site: Site, auth: AuthServer, port: int, hup: bool) -> None:
    """After WINCH: HUP brings the old master's workers back, or else the new master's end does."""
    path = site.directory / "imap.sock"
    site.configure(imap(auth, port, f"listen unix:{path};"))
    start(site)
    first = site.workers()
    old, new = site.upgrade()
    os.kill(old, signal.SIGWINCH)
    site.wait_log(f"worker process {first[0]} exited with code 0")
    with Session(port) as session:
        if hup:
            os.kill(old, signal.SIGHUP)
            wait_for("the old master's worker", lambda: len(site.workers(old)) == 2)  # and the new master
        os.kill(new, signal.SIGQUIT)
        session.exchange()
    site.wait_log(f"new binary process {new} exited with code 0")
    wait_for("the old pid file", lambda: site.pid_in_file() == old)
    site.wait_workers(1)
    for address in (port, str(path)):
        with Session(address) as session:
            session.exchange()


def test_a_second_upgrade_is_refused(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    start(site)
    old, new = site.upgrade()
    for count, pid in enumerate((old, new), 1):
        os.kill(pid, signal.SIGUSR2)
        site.wait_log(rf"\[crit\] {pid}#0: {CRIT}$")
        site.wait_log(r"signal 12 \(SIGUSR2\) received from \d+, ignoring$", count=count)
    os.kill(old, signal.SIGTERM)
    wait_for("the old master's end", lambda: not alive(old))
    assert site.upgrade()[0] == new


def test_new_binary_that_fails_leaves_everything(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    start(site)
    master, workers = site.pid, site.workers()
    with site.configuration.open("a") as file:
        file.write("nonsense;")
    os.kill(master, signal.SIGUSR2)
    site.wait_log(r"new binary process \d+ exited with code 1")
    wait_for("the pid file", lambda: site.pid_in_file() == master)
    assert site.workers() == workers
    with Session(port) as session:
        session.exchange()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x;", 'invalid socket number "x;" in NGINX environment variable, ignoring the rest of the variable'),
        ("9", 'invalid socket number "9" in NGINX environment variable, ignoring'),
        ("987:", "getsockname() of the inherited socket #987 failed (9: Bad file descriptor)"),
    ],
)
def test_nonsense_handed_down(site: Site, auth: AuthServer, port: int, value: str, message: str) -> None:
    site.configure(imap(auth, port))
    site.start(environment={"NGINX": value})
    assert message in site.bootstrap_log.read_text()
    with Session(port) as session:
        session.exchange()


def test_sockets_of_other_addresses_are_closed(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", port)) as ours:
        for sock in (other, ours):
            sock.set_inheritable(True)
        gone = other.getsockname()[1]
        command = site.command("-g", "daemon off;")
        pid = os.posix_spawn(
            command[0], command,
            {**site._environment({}), "NGINX": f"{other.fileno()}:{ours.fileno()};"},
        )  # fmt: skip
    try:
        wait_for("pid file", lambda: site.pid_in_file() == pid)
        with Session(port) as session:
            session.exchange()
        assert not listening(gone)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


@pytest.mark.directive("env")
def test_environment_of_workers_and_of_the_new_binary(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main="env KEPT; env SET=value;")
    report = "import os; print(sorted(os.environ), os.environ.get('SET'), file=open({!r}, 'a'))"
    show = site.directory / "shown"
    (site.directory / "shown.worker").touch()
    (site.directory / "shown.worker").chmod(0o666)  # it is another user's
    site.start(
        patch=f"""
from fastmail.server import worker
import os
{report.format(str(show) + ".master")}
real = worker.Worker.run
def run(self):
    {report.format(str(show) + ".worker")}
    return real(self)
worker.Worker.run = run
""",
        environment={"KEPT": "1", "LOST": "1", "TZ": "UTC"},
    )
    site.wait_workers(1)
    site.upgrade()
    first, second = (site.directory / "shown.master").read_text().splitlines()
    assert "LOST" in first
    assert "LOST" not in second and "KEPT" in second and second.endswith(" value")
    for line in (site.directory / "shown.worker").read_text().splitlines():
        assert line == "['KEPT', 'SET', 'TZ'] value"
