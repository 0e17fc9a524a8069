"""HUP (reference 11.3): the new configuration takes over, or the old one stays; no session is lost."""

import os
import re
import socket
import subprocess
from contextlib import ExitStack
from functools import partial

import pytest
from support.authserver import AuthServer
from support.load import Load, all_went_on
from support.ports import HOST, listening, reserve
from support.processes import Session, Site, alive, opened, wait_for

RELOADS = 20
LOAD_THREADS = 4


def server(listen: object, more: str = "") -> str:
    return f"server {{ listen {listen}; protocol imap; {more} }}\n"


def mail(auth: AuthServer, *servers: str) -> str:
    return f"auth_http 127.0.0.1:{auth.port};\n" + "".join(servers)


def local(port: int) -> str:
    return f"{HOST}:{port}"


def test_reload_is_logged_as_nginx_does(site: Site, auth: AuthServer) -> None:
    site.configure(mail(auth, server(local(reserve()))), workers=2, log="error.log notice")
    site.start()
    old = site.wait_workers(2)
    site.wait_log(r"start worker process \d+$", count=2)
    since = site.log_size
    site.signal("reload")
    for worker in old:
        site.wait_log(f"worker process {worker} exited with code 0", since)
    lines = [re.sub(r"\b(process|from) \d+", r"\1 N", line) for line in site.messages(since)]
    assert lines[:6] == [
        "[notice] signal 1 (SIGHUP) received from N, reconfiguring",
        "[notice] reconfiguring",
        '[notice] using the "epoll" event method',
        "[notice] start worker processes",
        "[notice] start worker process N",
        "[notice] start worker process N",
    ]
    rest = lines[6:]
    for line in ("gracefully shutting down", "exiting", "exit", "worker process N exited with code 0"):
        assert rest.count(f"[notice] {line}") == 2
    assert 1 <= rest.count("[notice] signal 17 (SIGCHLD) received from N") <= 2


def test_running_session_outlives_the_reload(site: Site, auth: AuthServer) -> None:
    port = reserve()
    site.configure(mail(auth, server(local(port))))
    site.start()
    old = site.wait_workers(1)
    with Session(port) as session:
        site.signal("reload")
        site.wait_log(f"{old[0]}#0: gracefully shutting down")
        site.wait_workers(1, besides=old)
        session.exchange()
        with Session(port) as another:
            another.exchange()
            session.exchange()
    site.wait_log(f"worker process {old[0]} exited with code 0")


def test_new_sessions_meet_the_new_configuration(site: Site, auth: AuthServer) -> None:
    port = reserve()
    site.configure(mail(auth, server(local(port))))
    site.start()
    site.wait_workers(1)
    site.configure(f"auth_http 127.0.0.1:{reserve()};" + server(local(port)), workers=3)
    site.reload(3)
    with pytest.raises(AssertionError, match="internal server error"):
        Session(port)


def test_connection_numbers_go_on(site: Site, auth: AuthServer) -> None:
    port = reserve()
    site.configure(mail(auth, server(local(port))))
    site.start()
    site.wait_workers(1)
    with Session(port):
        first = site.wait_log("client logged in")
    site.reload()
    with Session(port):
        second = site.wait_log("client logged in", count=2)
    numbers = [int(re.search(r" \*(\d+) ", line)[1]) for line in (first, second)]  # type: ignore[index]
    assert numbers[0] < numbers[1]


# What stays when something is wrong


BROKEN = [
    ("nonsense;", r'unknown directive "nonsense" in \S+:\d+'),
    ("error_log missing/x.log;", r'open\(\) "\S+/missing/x.log" failed \(2: No such file or directory\)'),
    ("mail {}", r'"mail" directive is duplicate in \S+:\d+'),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_configuration_leaves_the_old_one(
    site: Site, auth: AuthServer, text: str, message: str
) -> None:
    port = reserve()
    site.configure(mail(auth, server(local(port))))
    site.start()
    workers = site.wait_workers(1)
    good = site.configuration.read_text()
    site.configuration.write_text(good + text)
    os.kill(site.pid, 1)
    site.wait_log(rf"\[emerg\] {site.pid}#0: {message}$")
    assert site.workers() == workers
    with Session(port) as session:
        session.exchange()
    site.configuration.write_text(good)
    site.signal("reload")
    site.wait_workers(1, besides=workers)


def test_address_that_cannot_be_bound_leaves_the_old_configuration(site: Site, auth: AuthServer) -> None:
    port, good = reserve(), reserve()
    site.configure(mail(auth, server(local(port))))
    site.start()
    workers = site.wait_workers(1)
    with socket.create_server((HOST, 0)) as taken:
        address = local(taken.getsockname()[1])
        site.configure(mail(auth, server(local(port)), server(local(good)), server(address)))
        site.signal("reload")
        site.wait_log(r"\[emerg\] .* still could not bind\(\)$")
    site.wait_log(rf"\[emerg\] .* bind\(\) to {address} failed \(98: Address already in use\)", count=5)
    assert site.workers() == workers
    assert not listening(good), "what could be bound is let go again"
    with Session(port) as session:
        session.exchange()


def test_pid_file_that_cannot_be_written_leaves_the_old_configuration(site: Site, auth: AuthServer) -> None:
    port, more = reserve(), reserve()
    site.configure(mail(auth, server(local(port))))
    site.start()
    workers = site.wait_workers(1)
    master = site.pid
    site.configure(mail(auth, server(local(port)), server(local(more))))
    text = site.configuration.read_text()
    site.configuration.write_text(text.replace("pid fastmail.pid", "pid missing/x.pid"))
    os.kill(master, 1)
    site.wait_log(r'\[emerg\] .* open\(\) "\S+/missing/x.pid" failed')
    assert (site.pid, site.workers()) == (master, workers)
    assert not listening(more)


# Sockets and files that come and go


def test_sockets_come_and_go(site: Site, auth: AuthServer) -> None:
    stays, goes, comes = reserve(), reserve(), reserve()
    path = site.directory / "imap.sock"
    site.configure(mail(auth, server(local(stays)), server(local(goes)), server(f"unix:{path}")))
    site.start()
    old = site.wait_workers(1)
    with Session(goes) as session, Session(str(path)) as unix_session:
        site.configure(mail(auth, server(local(stays)), server(local(comes))))
        site.signal("reload")
        site.wait_workers(1, besides=old)
        site.wait_log("gracefully shutting down")
        wait_for("the removed socket's end", lambda: not listening(goes))
        assert not path.exists()
        for port in (stays, comes):
            with Session(port) as other:
                other.exchange()
        session.exchange()
        unix_session.exchange()


def test_kept_socket_gets_its_new_backlog(site: Site, auth: AuthServer) -> None:
    port = reserve()
    site.configure(mail(auth, server(local(port))))
    site.start()
    site.wait_workers(1)
    assert backlog(port) == 511
    site.configure(mail(auth, server(f"{local(port)} backlog=7")))
    site.signal("reload")
    wait_for("the new backlog", lambda: backlog(port) == 7)  # once the new worker serves


def backlog(port: int) -> int:
    """The limit of a listening socket's queue, as the kernel has it (ss -l shows it as Send-Q)."""
    lines = subprocess.run(
        ["ss", "-Hltn", f"sport = :{port}"], check=True, capture_output=True, text=True
    ).stdout
    return int(lines.split()[2])


def test_a_wildcard_can_join_a_single_address(site: Site, auth: AuthServer) -> None:
    port = reserve()
    site.configure(mail(auth, server(f"127.0.0.2:{port} bind")))
    site.start()
    old = site.wait_workers(1)
    site.configure(mail(auth, server(f"127.0.0.2:{port} bind"), server(f"*:{port}")))
    site.signal("reload")
    site.wait_workers(1, besides=old)
    with Session(port) as session:
        session.exchange()
        site.wait_log(rf"connected to 0\.0\.0\.0:{port}$")


@pytest.mark.directive("pid")
def test_log_and_pid_file_move(site: Site, auth: AuthServer) -> None:
    port = reserve()
    site.configure(mail(auth, server(local(port))))
    master = site.start().pid
    old = site.wait_workers(1)
    old_log, old_pid_file = site.log_file, site.pid_file
    site.configure(mail(auth, server(local(port))), log="new.log info")
    text = site.configuration.read_text()
    site.configuration.write_text(text.replace("pid fastmail.pid", "pid new.pid"))
    os.kill(master, 1)
    site.log_file, site.pid_file = site.directory / "new.log", site.directory / "new.pid"
    wait_for("the new pid file", lambda: site.pid_in_file() == master)
    site.wait_workers(1, besides=old)
    wait_for("the old worker's end", lambda: not alive(old[0]))
    assert not old_pid_file.exists()
    with Session(port):
        site.wait_log("client logged in")
    assert old_log.read_text().rstrip().endswith("exit"), "the old worker finished in the old log"
    assert os.readlink(f"/proc/{master}/fd/2") == str(site.log_file)


def test_reload_opens_the_logs_anew(site: Site, auth: AuthServer) -> None:
    site.configure(mail(auth, server(local(reserve()))))
    site.start()
    site.wait_workers(1)
    site.log_file.rename(site.directory / "error.log.1")
    site.signal("reload")
    site.wait_log("start worker process ")


def test_descriptors_do_not_pile_up(site: Site, auth: AuthServer) -> None:
    site.configure(mail(auth, server(local(reserve()), "error_log mail.log info;")))
    child = site.start()
    workers = site.wait_workers(1)

    def descriptors() -> int:
        return len(opened(child.pid))

    site.wait_log(r"start worker process \d+$")  # until then the master has the worker's end of their channel
    before = descriptors()
    for _ in range(3):
        os.kill(child.pid, 1)
        site.wait_workers(1, besides=workers)
        workers += site.workers()
        good = site.configuration.read_text()
        site.configuration.write_text(good + "nonsense;")
        since = site.log_size
        os.kill(child.pid, 1)
        site.wait_log("unknown directive", since)
        site.configuration.write_text(good)
    wait_for("the descriptors of before", lambda: descriptors() == before)


def test_reload_where_no_signals_can_be_queued(site: Site, auth: AuthServer) -> None:
    """Then the kernel sends SIGIO instead of the one by which the master hears that workers serve."""
    site.configure(mail(auth, server(local(reserve()))), workers=2)
    site.start(within=["prlimit", "--sigpending=0"])
    old = site.wait_workers(2)
    assert site.run("-s", "reload", "--wait").returncode == 0
    wait_for("the old workers' end", lambda: not set(old) & set(site.workers()))


# Under load


@pytest.mark.parametrize("transport", ["engine", "aiohttp"])
def test_a41_reloads_under_load_lose_nothing(site: Site, auth: AuthServer, transport: str) -> None:
    port = reserve()
    site.configure(mail(auth, server(local(port), f"auth_http_transport {transport};")), workers=2)
    site.start()
    site.wait_workers(2)
    load = [Load(port) for _ in range(LOAD_THREADS)]
    with ExitStack() as sessions:
        relays = [sessions.enter_context(Session(port, f"relay{number}")) for number in range(6)]
        for thread in load:
            thread.start()
        try:
            for count in range(1, RELOADS + 1):
                before = [thread.logins for thread in load]
                assert site.run("-s", "reload", "--wait").returncode == 0
                wait_for("logins", partial(all_went_on, load, before))
                relays[count % len(relays)].exchange(f"after {count}")
        finally:
            for thread in load:
                thread.end()
        assert [failure for thread in load for failure in thread.failures] == []
        assert sum(thread.logins for thread in load) >= RELOADS * LOAD_THREADS
        for relay in relays:
            relay.exchange("at the end")
    wait_for("the draining workers' end", lambda: len(site.workers()) == 2)
    assert [line for line in site.log() if re.search(r"\[(emerg|alert|crit|error)\]", line)] == []
