"""Reloads whose workers cannot start: the old ones go on, the master obeys, and ``--wait`` tells."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.manager import Manager
from support.ports import listening, reserve
from support.processes import AS_ROOT, NOBODY, USER, Session, Site, alive, imap, opened, wait_for
from support.proxy import Proxy

WAIT = ("-s", "reload", "--wait")

TROUBLE = """
import os, signal, time
from fastmail.server import worker, workers
workers.START_PATIENCE = {patience}
run, fork = worker.run, os.fork
def trouble():
    try:
        return open({file!r}).read()
    except OSError:
        return ""
def troubled_run(*arguments, **more):
    while trouble() == "hang":
        time.sleep(0.02)
    if trouble() == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble() == "fail":
        return worker.FAILED
    return run(*arguments, **more)
def troubled_fork():
    if trouble() == "fork":
        raise BlockingIOError(11, os.strerror(11))
    return fork()
worker.run, os.fork = troubled_run, troubled_fork
"""


class Troubled:
    """A running site whose next workers can be given trouble."""

    def __init__(self, site: Site, auth: AuthServer, port: int) -> None:
        self.site = site
        self._auth = auth
        self.port = port
        self._trouble = site.directory / "trouble"
        self.manager = Manager()

    def start(self, *, patience: float = 1000, workers: int = 1, main: str = "") -> int:
        """The master's pid, once it has told that it is ready."""
        self.configure(workers=workers, main=main)
        patch = TROUBLE.format(file=str(self._trouble), patience=patience)
        master = self.site.start(patch=patch, environment=self.manager.environment).pid
        assert self.manager.told()["READY"] == "1"
        self.old = self.site.wait_workers(workers)
        return master

    def configure(
        self, more: str = "", *, workers: int = 1, main: str = "", log: str = "error.log info"
    ) -> None:
        self.site.configure(imap(self._auth, self.port, more), main=USER + main, workers=workers, log=log)

    def trouble(self, kind: str) -> None:
        self._trouble.write_text(kind)

    def none(self) -> None:
        self._trouble.unlink()

    def hang(self) -> list[int]:
        """Begin a reload whose workers hang; their pids."""
        self.trouble("hang")
        since = self.site.log_size
        self.site.signal("reload")
        self.site.wait_log(r"start worker process \d+$", since)
        assert self.manager.told()["RELOADING"] == "1"
        return [pid for pid in self.site.workers() if pid not in self.old]

    def serves_as_before(self) -> None:
        assert [pid for pid in self.site.workers() if pid in self.old] == self.old
        with Session(self.port) as session:
            session.exchange()


@pytest.fixture
def troubled(site: Site, auth: AuthServer, port: int) -> Iterator[Troubled]:
    troubled = Troubled(site, auth, port)
    yield troubled
    troubled.manager.close()


def failed(site: Site, problem: str) -> None:
    """``-s reload --wait`` fails, and says why as the log does."""
    since = site.log_size
    result = site.run(*WAIT)
    assert result.returncode == 1
    assert re.fullmatch(rf"fastmail: \[error\] reload failed: {problem}\n", result.stderr), result.stderr
    site.wait_log(rf"\[emerg\] \d+#0: reload failed, keeping the old workers: {problem}$", since)


# What fails


CANNOT_START = [
    ("working_directory /nowhere;", r"worker process \d+ exited with code 2"),
    ("worker_rlimit_nofile 8;", r"worker process \d+ exited with code 1"),
]


@pytest.mark.parametrize(("main", "problem"), CANNOT_START)
def test_configuration_that_workers_cannot_start_with(troubled: Troubled, main: str, problem: str) -> None:
    """Its test passes. What was opened for it is closed, and the next reload is as any other."""
    site, more = troubled.site, reserve()
    master = troubled.start()
    files = set(opened(master).values())
    path = site.directory / "new.sock"
    with Session(troubled.port) as session:
        troubled.configure(f"}} server {{ listen 127.0.0.1:{more}; listen unix:{path}; protocol imap;",
                           main=main, log="new.log info")  # fmt: skip
        text = site.configuration.read_text()
        site.configuration.write_text(text.replace("pid fastmail.pid", "pid new.pid"))
        assert site.run("-t").returncode == 0
        (site.directory / "new.pid").write_text(f"{master}\n")
        failed(site, problem)
        assert troubled.manager.told()["RELOADING"] == "1"
        told = troubled.manager.told()
        assert told["READY"] == "1"
        assert re.fullmatch(f"reload failed: {problem}", told["STATUS"])
        session.exchange()
    troubled.serves_as_before()
    wait_for("the new workers' end", lambda: site.workers() == troubled.old)
    assert not listening(more)
    assert not path.exists()
    assert not (site.directory / "new.pid").exists()
    wait_for("the descriptors of before", lambda: set(opened(master).values()) <= files)
    troubled.configure(f"}} server {{ listen 127.0.0.1:{more}; protocol imap;")
    assert site.run(*WAIT).returncode == 0
    with Session(more) as session:
        session.exchange()


FAILURES = [
    ("crash", r"worker process \d+ exited on signal 9"),
    ("fail", r"worker process \d+ exited with code 1"),
    ("fork", r'fork\(\) failed while spawning "worker process" \(11: Resource temporarily unavailable\)'),
]


@pytest.mark.parametrize(("kind", "problem"), FAILURES)
def test_workers_that_do_not_come_up(troubled: Troubled, kind: str, problem: str) -> None:
    troubled.start(workers=2)
    troubled.trouble(kind)
    failed(troubled.site, problem)
    troubled.serves_as_before()
    troubled.none()
    result = troubled.site.run(*WAIT)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(troubled.site.wait_workers(2, besides=troubled.old)) == 2


def test_worker_that_hangs_is_killed(troubled: Troubled) -> None:
    troubled.start(patience=1)
    troubled.trouble("hang")
    failed(troubled.site, r"worker process \d+ did not start within 1 seconds")
    troubled.serves_as_before()
    wait_for("the hanging worker's end", lambda: troubled.site.workers() == troubled.old)
    troubled.none()
    assert troubled.site.run(*WAIT).returncode == 0


def test_kept_socket_has_its_backlog_still(troubled: Troubled) -> None:
    troubled.start()
    text = troubled.site.configuration.read_text()
    listen = f"listen 127.0.0.1:{troubled.port}"
    troubled.site.configuration.write_text(text.replace(listen, f"{listen} backlog=7"))
    troubled.trouble("fail")
    assert troubled.site.run(*WAIT).returncode == 1
    shown = subprocess.run(["ss", "-Hltn", f"sport = :{troubled.port}"], capture_output=True, text=True)
    assert shown.stdout.split()[2] == "511"


# The first start


def test_first_workers_that_hang_are_killed_and_replaced(site: Site, auth: AuthServer, port: int) -> None:
    troubled = Troubled(site, auth, port)
    troubled.trouble("hang")
    troubled.configure()
    with troubled.manager as manager:
        master = site.start(
            patch=TROUBLE.format(file=str(site.directory / "trouble"), patience=1),
            environment=manager.environment,
        ).pid
        site.wait_log(r"\[emerg\] .* worker process \d+ did not start within 1 seconds, killing it")
        assert manager.told() == {"STATUS": "worker processes: 0"}
        troubled.none()
        while (told := manager.told()) == {"STATUS": "worker processes: 0"}:
            pass
        assert told == {"READY": "1", "MAINPID": str(master), "STATUS": "worker processes: 1"}
    with Session(port) as session:
        session.exchange()


def test_reload_after_a_start_without_workers(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main="working_directory /nowhere;")
    site.start()
    site.wait_log("cannot be respawned")
    site.configure(imap(auth, port))
    assert site.run(*WAIT).returncode == 0
    with Session(port) as session:
        session.exchange()


# Signals while workers hang


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_during_a_start_that_hangs(
    site: Site, auth: AuthServer, port: int, number: signal.Signals
) -> None:
    troubled = Troubled(site, auth, port)
    troubled.trouble("hang")
    troubled.configure()
    patch = TROUBLE.format(file=str(site.directory / "trouble"), patience=1000)
    with troubled.manager as manager:
        child = site.start(patch=patch, environment=manager.environment)
        site.wait_log(r"start worker process \d+$")
        os.kill(child.pid, number)
        assert manager.told() == {"STOPPING": "1", "STATUS": "exiting"}
        assert child.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_during_a_reload_that_hangs(troubled: Troubled, number: signal.Signals) -> None:
    master = troubled.start()
    troubled.hang()
    os.kill(master, number)
    assert troubled.manager.told() == {"STOPPING": "1", "STATUS": "exiting"}
    wait_for("the end", lambda: not alive(master))
    assert "[notice] reload abandoned, exiting" in troubled.site.messages()


def test_quit_during_a_reload_that_hangs(troubled: Troubled) -> None:
    master = troubled.start()
    with Session(troubled.port) as session:
        troubled.hang()
        troubled.none()
        os.kill(master, signal.SIGQUIT)
        assert troubled.manager.told()["STATUS"] == "shutting down: sessions run to their end"
        wait_for("the end of listening", lambda: not listening(troubled.port))
        session.exchange()
    wait_for("the end", lambda: not alive(master))


def test_logs_are_reopened_during_a_reload_that_hangs(troubled: Troubled) -> None:
    master = troubled.start()
    troubled.hang()
    troubled.site.log_file.rename(troubled.site.directory / "error.log.1")
    os.kill(master, signal.SIGUSR1)
    wait_for("the new log", troubled.site.log_file.exists)
    troubled.none()
    troubled.site.wait_log("gracefully shutting down")
    troubled.site.wait_workers(1, besides=troubled.old)


def test_worker_that_dies_during_a_reload_that_hangs_is_replaced(troubled: Troubled) -> None:
    """By one with the configuration in force. It hangs as well here, until the trouble ends."""
    troubled.start()
    new = troubled.hang()
    since = troubled.site.log_size
    os.kill(troubled.old[0], signal.SIGKILL)
    troubled.site.wait_log(r"start worker process \d+$", since)
    troubled.none()
    troubled.site.wait_log(rf"signal 17 .* received from (?!{troubled.old[0]})\d+$", since)
    assert troubled.site.wait_workers(1) == new


def test_worker_that_dies_after_a_failed_reload_is_replaced(troubled: Troubled) -> None:
    troubled.start()
    more = reserve()
    troubled.configure(
        f"}} server {{ listen 127.0.0.1:{more}; protocol imap;", main="working_directory /nowhere;"
    )
    assert troubled.site.run(*WAIT).returncode == 1
    os.kill(troubled.old[0], signal.SIGKILL)
    troubled.site.wait_workers(1, besides=troubled.old)
    with Session(troubled.port) as session:
        session.exchange()
    assert not listening(more)


def test_next_reload_ends_one_that_hangs(troubled: Troubled) -> None:
    """Its sockets are passed on or closed; whoever waits for it gets the outcome of the next one."""
    troubled.start()
    both, first = reserve(), reserve()
    server = "}} server {{ listen 127.0.0.1:{}; protocol imap;"
    troubled.configure(server.format(both) + server.format(first))
    troubled.trouble("hang")
    with start_waiting(troubled.site) as waiting:
        troubled.site.wait_log(r"start worker process \d+$", count=2)
        hanging = [pid for pid in troubled.site.workers() if pid not in troubled.old]
        troubled.site.configuration.write_text("nonsense;")
        assert troubled.site.run("-s", "reload", "--pid", str(troubled.site.pid_file)).returncode == 1
        since = troubled.site.log_size  # after what that command has logged itself
        os.kill(troubled.site.pid, signal.SIGHUP)
        troubled.site.wait_log("unknown directive", since)  # the one that hangs is not ended by that
        assert waiting.poll() is None
        troubled.configure(server.format(both))
        troubled.none()
        troubled.trouble("")
        assert troubled.site.run(*WAIT).returncode == 0
        assert waiting.wait(30) == 0
    wait_for("the first one's end", lambda: not any(map(alive, [*hanging, *troubled.old])))
    with Session(both) as session:
        session.exchange()
    assert not listening(first)


def test_upgrade_ends_a_reload_that_hangs(troubled: Troubled) -> None:
    master = troubled.start()
    troubled.hang()
    troubled.none()
    with start_waiting(troubled.site) as waiting:
        new = None
        os.kill(master, signal.SIGUSR2)
        new = troubled.site.adopt(master)
        assert waiting.wait(30) in (0, 1)
    assert alive(master) and alive(new)
    with Session(troubled.port) as session:
        session.exchange()


# --wait


def start_waiting(site: Site, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        site.command(*(arguments or WAIT)), cwd=site.directory, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def test_wait_returns_when_the_new_workers_serve(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    site.start_daemon()
    site.wait_workers(1)
    for _ in range(3):
        new = reserve()
        site.configure(imap(auth, new))
        result = site.run(*WAIT)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        with Session(new) as session:
            session.exchange()


def test_wait_tells_what_is_wrong_with_the_configuration(site: Site, auth: AuthServer, port: int) -> None:
    """What reading it in the command does not find: an address that is taken."""
    site.configure(imap(auth, port))
    site.start()
    site.wait_workers(1)
    site.configure(imap(auth, port), log="error.log info;\nerror_log missing/x.log")
    result = site.run(*WAIT)
    problem = f'open() "{site.directory}/missing/x.log" failed (2: No such file or directory)'
    assert (result.returncode, result.stderr) == (1, f"fastmail: [error] reload failed: {problem}\n")


def test_several_wait_at_once(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port))
    site.start()
    site.wait_workers(1)
    waiting = [start_waiting(site) for _ in range(4)]
    assert [(each.communicate()[1], each.returncode) for each in waiting] == [("", 0)] * 4


def test_wait_ends_with_the_master(troubled: Troubled) -> None:
    master = troubled.start()
    troubled.trouble("hang")
    with start_waiting(troubled.site) as waiting:
        troubled.site.wait_log(r"start worker process \d+$", count=2)
        os.kill(master, signal.SIGKILL)
        message = f"fastmail: [error] reload failed: process {master} exited\n"
        assert (waiting.communicate()[1], waiting.returncode) == (message, 1)
    for pid in troubled.old:
        os.kill(pid, signal.SIGTERM)
    troubled.none()


def test_wait_is_told_that_the_master_is_stopped(troubled: Troubled) -> None:
    master = troubled.start()
    troubled.trouble("hang")
    with start_waiting(troubled.site) as waiting:
        troubled.site.wait_log(r"start worker process \d+$", count=2)
        os.kill(master, signal.SIGTERM)
        text = waiting.communicate()[1]
        ends = "abandoned, exiting", f"process {master} exited"
        assert text in [f"fastmail: [error] reload failed: {end}\n" for end in ends]
        assert waiting.returncode == 1


def test_wait_has_an_end(troubled: Troubled) -> None:
    troubled.start()
    troubled.trouble("hang")
    result = troubled.site.run("-s", "reload", "--wait=300ms")
    message = "fastmail: [error] reload failed: the new workers do not serve after 0.3 seconds\n"
    assert (result.returncode, result.stderr) == (1, message)


def test_wait_for_a_single_process(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main="master_process off;")
    site.start()
    with Session(port) as session:
        new = reserve()
        site.configure(imap(auth, new), main="master_process off;")
        assert site.run(*WAIT).returncode == 0
        with Session(new) as other:
            other.exchange()
        session.exchange()
    site.configure(imap(auth, new), main="master_process off; error_log missing/x.log;")
    assert "missing/x.log" in site.run(*WAIT).stderr


def test_single_process_that_cannot_have_another_engine_goes_on(
    site: Site, auth: AuthServer, port: int
) -> None:
    """A descriptor or a thread that is not to be had ends the reload, not the sessions."""
    site.configure(imap(auth, port), main="master_process off;")
    child = site.start()
    with Session(port) as session:
        subprocess.run(
            ["prlimit", f"--pid={child.pid}", f"--nofile={len(opened(child.pid)) + 3}:"], check=True
        )
        result = site.run(*WAIT)
        assert (result.returncode, "reload failed" in result.stderr) == (1, True)
        session.exchange()
        subprocess.run(["prlimit", f"--pid={child.pid}", "--nofile=1024:"], check=True)
        assert site.run(*WAIT).returncode == 0
        session.exchange()


def test_wait_ends_although_the_outcome_cannot_be_written(site: Site, auth: AuthServer, port: int) -> None:
    """A limit on files is one on what the master keeps in memory for those who wait."""
    site.configure(imap(auth, port))
    child = site.start()
    site.wait_workers(1)
    subprocess.run(["prlimit", f"--pid={child.pid}", "--fsize=10"], check=True)
    message = rf"reload failed: process {child.pid} doesn't report the outcome of a reload\n"
    for _ in range(2):  # it has begun to write; it is known before the signal
        result = site.run(*WAIT)
        assert result.returncode == 1
        assert re.search(message, result.stderr), result.stderr


def test_wait_after_going_back_from_an_upgrade(site: Site, auth: AuthServer, port: int) -> None:
    """HUP reads nothing then; that the old master's workers serve again is what is waited for."""
    site.configure(imap(auth, port))
    site.start_daemon()
    site.wait_workers(1)
    old, new = site.upgrade()
    os.kill(old, signal.SIGWINCH)
    wait_for("the old workers' end", lambda: site.workers(old) == [new])
    assert site.run(*WAIT, "--pid", f"{site.pid_file}.oldbin").returncode == 0
    assert len(site.workers(old)) == 2
    os.kill(new, signal.SIGQUIT)
    wait_for("the new master's end", lambda: not alive(new))


@pytest.mark.parametrize("name", ["fastmail", "nginx"])
def test_wait_with_any_name_and_pid_file(site: Site, auth: AuthServer, port: int, name: str) -> None:
    site.configure(imap(auth, port))
    own = site.directory / "own.pid"
    child = site.launch(site.command("-g", "daemon off;", "--pid", "own.pid", name=name), {})
    wait_for("the pid file", lambda: own.exists() and own.read_text() == f"{child.pid}\n")
    result = site.run(*WAIT, "--pid=own.pid", name=name)
    assert (result.returncode, result.stderr) == (0, "")


def test_wait_needs_a_master_that_tells(site: Site, auth: AuthServer) -> None:
    """nginx's master, or one of before this switch: it is not even sent the signal."""
    site.configure()
    with Proxy("nginx", imap(auth, reserve()), []) as nginx:
        nginx.wait_log("start worker process ")
        since = nginx.log_size
        master = int((nginx.directory / "nginx.pid").read_text())
        result = site.run(*WAIT, "--pid", str(nginx.directory / "nginx.pid"))
        message = f"process {master} doesn't report the outcome of a reload, no signal sent"
        assert (result.returncode, result.stderr) == (1, f"fastmail: [error] reload failed: {message}\n")
        os.kill(master, signal.SIGUSR1)
        nginx.wait_log("reopening logs", since)
        assert not [line for line in nginx.log(since) if "SIGHUP" in line]


def test_wait_with_a_stale_pid_file(site: Site) -> None:
    site.configure()
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    site.pid_file.write_text(f"{gone}\n")
    result = site.run(*WAIT)
    message = f"fastmail: [alert] kill({gone}, 1) failed (3: No such process)\n"
    assert (result.returncode, result.stderr) == (1, message)


FAKE = """
import ctypes, os, sys, time
from fastmail.logs import Log
from fastmail.server.outcome import Outcomes
outcomes = Outcomes(Log())
os.setgid({user}); os.setuid({user})
import signal
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
signal.signal(signal.SIGHUP, lambda *_: outcomes.end(outcomes.begin()))
print("here", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.skipif(not AS_ROOT, reason="only root can start another user's process")
def test_process_of_another_user_is_not_believed(site: Site) -> None:
    """A stale pid file's number may be anybody's by now."""
    site.configure()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for user, code in ((0, 0), (NOBODY, 1)):
        command = [sys.executable, "-c", FAKE.format(user=user)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as fake:
            assert fake.stdout is not None and fake.stdout.readline() == b"here\n"
            site.pid_file.write_text(f"{fake.pid}\n")
            assert site.run(*WAIT).returncode == code
            fake.kill()


def test_workers_cannot_write_what_the_master_tells(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main=USER)
    master = site.start().pid
    (worker,) = site.wait_workers(1)
    assert any("fastmail-reloads" in target for target in opened(master).values())
    assert not any("fastmail-reloads" in target for target in opened(worker).values())


USAGE = [
    (["--wait"], 'option "--wait" requires "-s reload"'),
    (["-s", "stop", "--wait"], 'option "--wait" requires "-s reload"'),
    (["-s", "reload", "--wait=soon"], 'invalid value "soon" of option "--wait"'),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_wrong_use(site: Site, arguments: list[str], message: str) -> None:
    result = site.run(*arguments)
    assert (result.returncode, result.stderr) == (1, f"fastmail: {message}\n")
