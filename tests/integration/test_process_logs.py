"""The logs of master and workers: reopening, and whose lines go where."""

import os

import pytest
from support.authserver import AuthServer
from support.processes import AS_ROOT, NOBODY, USER, Session, Site, imap, wait_for


@pytest.mark.parametrize("main", ["", USER])
def test_reopening_logs(site: Site, auth: AuthServer, port: int, main: str) -> None:
    site.configure(imap(auth, port), main=main)
    master = site.start_daemon()
    (worker,) = site.wait_workers(1)
    moved = site.directory / "error.log.1"
    site.log_file.rename(moved)
    site.signal("reopen")
    wait_for("the worker's new file", lambda: os.readlink(f"/proc/{worker}/fd/2") == str(site.log_file))
    with Session(port):
        site.wait_log(f" {worker}#0: .* client logged in")
    old = moved.read_text()
    assert f"{master}#0: signal 10 (SIGUSR1) received from " in old
    assert "client logged in" not in old
    assert f"{worker}#0: reopening logs" in old
    if main:
        assert site.log_file.stat().st_uid == NOBODY


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_worker_that_cannot_reopen_keeps_its_file(site: Site, auth: AuthServer, port: int) -> None:
    logs = site.directory / "logs"
    logs.mkdir(mode=0o700)
    site.log_file = logs / "error.log"
    site.configure(imap(auth, port), main=USER, log="logs/error.log info")
    site.start_daemon()
    (worker,) = site.wait_workers(1)
    site.signal("reopen")
    site.wait_log(rf'\[emerg\] {worker}#0: open\(\) "{site.log_file}" failed \(13: Permission denied\)')
    with Session(port):
        site.wait_log(f" {worker}#0: .* client logged in")


@pytest.mark.directive("error_log")
def test_a_server_s_own_log(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port, "error_log mail.log info;"))
    site.start()
    with Session(port):
        own = site.directory / "mail.log"
        wait_for("the line", lambda: "client logged in" in own.read_text())
    assert "client logged in" not in "\n".join(site.log())


def test_error_log_option_takes_the_sessions_too(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), log="nginx.log info")
    site.start("--error-log", "error.log")
    with Session(port):
        site.wait_log("client logged in")
    assert not (site.directory / "nginx.log").exists()
