"""Master and workers (reference 11): start, signals, deaths, privileges."""

import os
import re
import resource
import signal
import socket
import time
from functools import partial
from pathlib import Path

import pytest
from support.authserver import AuthServer, answer
from support.ports import HOST, listening, reserve
from support.processes import (
    AS_ROOT,
    NOBODY,
    USER,
    Session,
    Site,
    alive,
    blocked,
    imap,
    opened,
    title,
    wait_for,
)


def without_pids(messages: list[str]) -> list[str]:
    return [re.sub(r"\b(process|from) \d+", r"\1 N", message) for message in messages]


# Start and end


def test_start_and_stop_are_logged_as_nginx_does(site: Site) -> None:
    site.configure(log="error.log notice")
    child = site.start()
    site.wait_workers(1)
    assert site.pid_file.read_bytes() == b"%d\n" % child.pid
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(10) == 0
    messages = without_pids(site.messages())
    system = os.uname()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert messages[0] == '[notice] using the "epoll" event method'
    assert re.fullmatch(r"\[notice\] fastmail/\d+\.\d+\.\d+", messages[1])
    assert messages[2].startswith("[notice] built by ")
    assert messages[3:] == [
        f"[notice] OS: {system.sysname} {system.release}",
        f"[notice] getrlimit(RLIMIT_NOFILE): {soft}:{hard}",
        "[notice] start worker processes",
        "[notice] start worker process N",
        "[notice] signal 15 (SIGTERM) received from N, exiting",
        "[notice] exiting",
        "[notice] exit",
        "[notice] signal 17 (SIGCHLD) received from N",
        "[notice] worker process N exited with code 0",
        "[notice] exit",
    ]
    assert not site.pid_file.exists()
    assert site.output() == ""


@pytest.mark.directive("worker_processes")
def test_number_of_workers_and_titles(site: Site) -> None:
    site.configure(workers=3)
    child = site.start()
    workers = site.wait_workers(3)
    assert title(child.pid).startswith("fastmail: master process fastmail -p ")
    assert {title(pid) for pid in workers} == {"fastmail: worker process"}
    assert Path(f"/proc/{workers[0]}/comm").read_text() == "fastmail\n"


@pytest.mark.directive("worker_processes")
def test_no_workers(site: Site) -> None:
    site.configure(workers=0)
    child = site.start()
    site.wait_log("start worker processes")
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(10) == 0
    assert "start worker process " not in "\n".join(site.messages())


@pytest.mark.directive("daemon")
def test_daemon(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    master = site.start_daemon()
    assert os.getsid(master) == master
    assert {os.readlink(f"/proc/{master}/fd/{fd}") for fd in (0, 1)} == {"/dev/null"}
    assert os.readlink(f"/proc/{master}/fd/2") == str(site.log_file)
    with Session(port) as session:
        session.exchange()
        site.signal("stop")
        assert session.ended()
    wait_for("the master's end", lambda: not alive(master))
    assert not site.pid_file.exists()
    assert "[notice] exit" in site.messages()


def test_session_that_is_there_when_a_daemon_starts_is_served(
    site: Site, auth: AuthServer, port: int
) -> None:
    """The sockets are bound when the command returns, before any worker exists."""
    site.configure(imap(auth, port))
    site.start_daemon()
    with Session(port) as session:
        session.exchange()


def test_daemon_started_without_standard_descriptors(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    site.start_daemon(closed=True)
    with Session(port) as session:
        session.exchange()
        site.wait_log("client logged in")


def test_log_of_the_start_is_let_go(site: Site) -> None:
    site.configure()
    child = site.start()
    site.wait_workers(1)
    files = opened(child.pid).values()
    assert str(site.log_file) in files
    assert str(site.bootstrap_log) not in files


@pytest.mark.directive("pid")
def test_stale_pid_file_is_overwritten(site: Site) -> None:
    site.configure()
    site.pid_file.write_text("4194304999\n")
    child = site.start()
    assert site.pid_file.read_text() == f"{child.pid}\n"


def test_quit_lets_sessions_end(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    child = site.start()
    (worker,) = site.wait_workers(1)
    with Session(port) as session:
        session.exchange()
        site.signal("quit")
        site.wait_log(f"{worker}#0: gracefully shutting down")
        wait_for("the title", lambda: title(worker) == "fastmail: worker process is shutting down")
        session.exchange("still here")
        assert child.poll() is None
    assert child.wait(10) == 0
    assert without_pids(site.messages())[-5:] == [
        "[notice] exiting",
        "[notice] exit",
        "[notice] signal 17 (SIGCHLD) received from N",
        "[notice] worker process N exited with code 0",
        "[notice] exit",
    ]


def test_quit_leaves_the_addresses_to_a_successor(site: Site, auth: AuthServer, port: int) -> None:
    path = site.directory / "imap.sock"
    site.configure(imap(auth, port, f"listen unix:{path};"))
    first = site.start()
    (worker,) = site.wait_workers(1)
    with Session(port) as session:
        site.signal("quit")
        site.wait_log(f"{worker}#0: gracefully shutting down")
        wait_for("refusal", lambda: refuses(port))
        wait_for("the end of the unix socket", lambda: not path.exists())
        successor = site.start()
        with Session(port) as other:
            other.exchange()
        session.exchange("still here")
    assert first.wait(10) == 0
    assert path.exists()
    assert site.pid == successor.pid
    os.kill(successor.pid, signal.SIGTERM)
    assert successor.wait(10) == 0


def refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) != 0


def test_stop_while_shutting_down(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    child = site.start()
    with Session(port) as session:
        site.signal("quit")
        site.wait_log("gracefully shutting down")
        site.signal("stop")
        assert session.ended()
    assert child.wait(10) == 0


def test_worker_that_does_not_exit_is_killed(site: Site) -> None:
    site.configure()
    child = site.start()
    (worker,) = site.wait_workers(1)
    os.kill(worker, signal.SIGSTOP)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(10) == 0
    assert f"[alert] worker process {worker} exited on signal 9" in site.messages()


@pytest.mark.directive("master_process")
def test_single_process(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main="master_process off;")
    child = site.start()
    with Session(port) as session:
        session.exchange()
    assert site.workers() == []
    site.signal("reopen")
    site.wait_log("reopening logs")
    os.kill(child.pid, signal.SIGQUIT)
    assert child.wait(10) == 0
    assert not site.pid_file.exists()


def test_single_process_reconfigures(site: Site, auth: AuthServer, port: int) -> None:
    """Sessions go on with the old configuration, their log included; a broken one changes nothing; addresses
    come and go."""
    other, pid = reserve(), site.directory / "other.pid"
    site.configure(imap(auth, port) + imap(auth, other), main="master_process off;")
    child = site.start()
    with Session(port) as old, Session(other) as older:
        site.configuration.write_text("nonsense;")
        os.kill(child.pid, signal.SIGHUP)
        site.wait_log(r'\[emerg\] .* unknown directive "nonsense"')
        for number in range(2):
            extra = f"imap_capabilities ROUND{number}; "
            site.configure(
                imap(auth, port).replace("protocol imap;", f"protocol imap; {extra}"),
                main=f"master_process off; pid {pid};",
                log=f"round{number}.log info",
            )
            text = site.configuration.read_text().replace("pid fastmail.pid;", "")
            site.configuration.write_text(text)
            os.kill(child.pid, signal.SIGHUP)
            wanted = f"ROUND{number}"
            wait_for("the new log", (site.directory / f"round{number}.log").exists)
            wait_for("the new configuration", partial(offers, port, wanted))
        wait_for("the address to go", lambda: not listening(other))
        wait_for("the end of the old pid file", lambda: not site.pid_file.exists())
        assert int(pid.read_text()) == child.pid
        old.exchange()
        older.exchange()
        os.kill(child.pid, signal.SIGQUIT)
        old.exchange()
    assert child.wait(10) == 0
    assert sum("proxied session done" in line for line in site.log()) == 2
    assert not pid.exists()


def offers(port: int, capability: str) -> bool:
    with socket.create_connection((HOST, port), 10) as client:
        client.sendall(b"a CAPABILITY\r\nb LOGOUT\r\n")
        return capability in client.makefile().read()


def test_engine_nested_in_the_loop_serves_alike(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    child = site.start(environment={"FASTMAIL_ENGINE": "nested"})
    (worker,) = site.wait_workers(1)
    assert len(os.listdir(f"/proc/{worker}/task")) == 1
    with Session(port) as session:
        session.exchange()
        os.kill(child.pid, signal.SIGQUIT)
        site.wait_log("gracefully shutting down")
        session.exchange()
    assert child.wait(10) == 0


def test_engine_thread_takes_no_signals(site: Site) -> None:
    site.configure()
    site.start()
    (worker,) = site.wait_workers(1)
    masks = {int(task): blocked(worker, int(task)) for task in os.listdir(f"/proc/{worker}/task")}
    assert masks.pop(worker) == set()
    wanted = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGHUP}
    assert masks and all(mask >= wanted for mask in masks.values())


# Other signals


def test_winch_stops_the_workers_of_a_daemon(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    master = site.start_daemon()
    (worker,) = site.wait_workers(1)
    os.kill(master, signal.SIGWINCH)
    site.wait_log(r"signal 28 \(SIGWINCH\) received from \d+, stop accepting connections")
    site.wait_log(f"worker process {worker} exited with code 0")
    assert alive(master)
    site.signal("reload")
    site.wait_workers(1)
    with Session(port) as session:
        session.exchange()


def test_winch_of_a_terminal_does_nothing(site: Site) -> None:
    site.configure()
    child = site.start()
    workers = site.wait_workers(1)
    os.kill(child.pid, signal.SIGWINCH)
    site.signal("reopen")  # is taken after it
    site.wait_log("reopening logs", count=3)
    assert site.workers() == workers
    assert "stop accepting" not in "\n".join(site.messages())


def test_ignored_signals_reach_the_master_all_the_same(site: Site) -> None:
    """Under nohup, HUP is ignored; nginx takes it."""
    site.configure()
    site.start(
        patch="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nsignal.signal(17, signal.SIG_IGN)"
    )
    old = site.wait_workers(1)
    os.kill(site.pid, signal.SIGHUP)
    site.wait_workers(1, besides=old)
    site.wait_log(f"worker process {old[0]} exited with code 0")


def test_signals_meant_for_the_master_do_not_hurt_a_worker(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    site.start()
    (worker,) = site.wait_workers(1)
    with Session(port) as session:
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGPIPE):
            os.kill(worker, number)
        session.exchange()
    assert site.workers() == [worker]


# Deaths


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_worker_that_dies_is_replaced(
    site: Site, auth: AuthServer, port: int, number: signal.Signals
) -> None:
    site.configure(imap(auth, port))
    site.start()
    old = site.wait_workers(1)
    with Session(port):
        os.kill(old[0], number)
        (new,) = site.wait_workers(1, besides=old)
    site.wait_log(f"start worker process {new}$")
    lines = without_pids(site.messages())
    at = lines.index("[notice] signal 17 (SIGCHLD) received from N")
    assert re.fullmatch(
        rf"\[alert\] worker process N exited on signal {number}( \(core dumped\))?", lines[at + 1]
    )
    assert lines[at + 2] == "[notice] start worker process N"
    with Session(port) as session:
        session.exchange()
    assert site.workers() == [new]


FAILING_ENGINE = """
from fastmail.server import service
real = service.make_engine
class Engine:
    def __init__(self, engine): self.engine = engine
    def __getattr__(self, name): return getattr(self.engine, name)
    def {method}(self): raise ValueError("out of order")
service.make_engine = lambda *arguments, **options: Engine(real(*arguments, **options))
"""


@pytest.mark.parametrize("method", ["run", "events"])
def test_failing_worker_says_why_and_is_replaced(
    site: Site, auth: AuthServer, port: int, method: str
) -> None:
    site.configure(imap(auth, port, "auth_http_transport aiohttp;"))
    site.start(patch=FAILING_ENGINE.format(method=method))
    if method == "events":
        site.wait_workers(1)
        with pytest.raises((AssertionError, OSError)):
            Session(port)
    site.wait_log(r"\[alert\] .* worker process failed: ValueError: out of order")
    pid = re.search(r"process (\d+) exited with code 1", site.wait_log("exited with code 1"))
    assert pid is not None
    site.wait_log("start worker process", count=3)  # the first line says processes


def test_failing_workers_are_not_restarted_in_a_tight_loop(site: Site) -> None:
    site.configure(log="error.log notice")
    begin = time.monotonic()
    site.start(patch=FAILING_ENGINE.format(method="run"))
    site.wait_log(r"start worker process \d+", count=3)
    assert time.monotonic() - begin > 1.5, "two restarts take two pauses"


UNPRIVILEGED = """
from fastmail.server import cycle, worker
class Nobody:
    uid = 0
    def become(self): raise worker.DropFailed("setuid(65534) failed (1: Operation not permitted)")
cycle.User.of = classmethod(lambda *names: Nobody())
"""


def test_fatal_worker_is_not_respawned(site: Site) -> None:
    site.configure()
    site.start(patch=UNPRIVILEGED)
    site.wait_log("cannot be respawned")
    messages = without_pids(site.messages())
    assert "[emerg] setuid(65534) failed (1: Operation not permitted)" in messages
    assert messages[-3:] == [
        "[notice] signal 17 (SIGCHLD) received from N",
        "[notice] worker process N exited with code 2",
        "[alert] worker process N exited with fatal code 2 and cannot be respawned",
    ]
    assert site.workers() == []


# Privileges and limits


@pytest.mark.directive("user")
@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_workers_run_as_the_user(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main=USER)
    child = site.start()
    (worker,) = site.wait_workers(1)
    status = Path(f"/proc/{worker}/status").read_text()
    ids = str(NOBODY)
    assert re.search(rf"^Uid:(\s+{ids}){{4}}$", status, re.M)
    assert re.search(rf"^Gid:(\s+{ids}){{4}}$", status, re.M)
    assert re.search(rf"^Groups:\s*{ids}\s*$", status, re.M)
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^Uid:(\s+0){4}$", Path(f"/proc/{child.pid}/status").read_text(), re.M)
    with Session(port) as session:
        session.exchange()


@pytest.mark.parametrize("transport", ["engine", "aiohttp"])
def test_workers_import_nothing_once_they_serve(
    site: Site, auth: AuthServer, port: int, transport: str
) -> None:
    """The unprivileged user may not be able to read the interpreter's files."""
    site.configure(imap(auth, port, f"auth_http_transport {transport};"), main=USER)
    child = site.start(environment={"PYTHONPROFILEIMPORTTIME": "1"})
    (worker,) = site.wait_workers(1)
    assert "import time:" in site.output(), "the interpreter reports imports"
    assert "import time:" not in "\n".join(site.log()), "stderr is the log from the first worker on"
    with Session(port) as session:
        session.exchange()
        auth._judge = lambda request: (answer("Wrong", port=1),)
        with pytest.raises(AssertionError, match="Wrong"):
            Session(port)
        auth.close()
        with pytest.raises(AssertionError, match="internal server error"):
            Session(port)
        os.kill(worker, signal.SIGUSR1)
        site.wait_log("reopening logs")
        os.kill(worker, signal.SIGQUIT)
        site.wait_log("gracefully shutting down")
    site.wait_log(f"worker process {worker} exited with code 0")
    assert child.poll() is None
    assert [line for line in site.log() if line.startswith("import time:")] == []


@pytest.mark.directive("worker_rlimit_nofile")
def test_open_files_of_workers(site: Site) -> None:
    site.configure(main="worker_rlimit_nofile 1234;", connections=2000)
    site.start()
    (worker,) = site.wait_workers(1)
    limits = Path(f"/proc/{worker}/limits").read_text()
    assert re.search(r"^Max open files\s+1234\s+1234\s", limits, re.M)
    assert "[warn] 2000 worker_connections exceed open file resource limit: 1234" in site.messages()


def test_worker_that_may_not_have_so_many_files_works_without(
    site: Site, auth: AuthServer, port: int
) -> None:
    files = 2**40  # beyond what the kernel gives to anybody
    site.configure(imap(auth, port), main=f"worker_rlimit_nofile {files};")
    site.start()
    with Session(port) as session:
        session.exchange()
    refused = f"[alert] setrlimit(RLIMIT_NOFILE, {files}) failed (1: Operation not permitted)"
    assert refused in site.messages()


def test_absurd_number_of_connections(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), connections=2**32 + 1)
    site.start()
    with Session(port) as session:
        session.exchange()


def test_absurd_number_of_workers(site: Site) -> None:
    site.configure(workers=3)
    site.start(patch="from fastmail.server import workers; workers.MAX_WORKERS = 2")
    site.wait_workers(2)
    assert "[alert] no more than 2 processes can be spawned" in site.messages()
