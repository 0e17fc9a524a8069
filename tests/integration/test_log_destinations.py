"""``error_log`` to syslog and to memory: what a syslog server receives, and what an operator reads."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authserver import AuthServer, answer
from support.closing import Closing
from support.ports import HOST
from support.processes import USER, Session, Site, opened, wait_for
from support.syslog import Addresses

DATE = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"
STAMP = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d"
HOST_NAME = socket.gethostname().lower()


def server(auth: AuthServer, port: int, more: str = "") -> str:
    return f"auth_http 127.0.0.1:{auth.port}; server {{ listen {HOST}:{port}; protocol imap; {more} }}\n"


class SyslogServer(Closing):
    def __init__(self, path: Path | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0) if path is None else str(path))
        self.socket.settimeout(10)
        if path is not None:
            path.chmod(0o666)
        self.name = f"unix:{path}" if path is not None else f"{HOST}:{self.socket.getsockname()[1]}"

    def close(self) -> None:
        self.socket.close()

    def until(self, pattern: str) -> str:
        """The first datagram that the regular expression fits."""
        while True:
            text = self.socket.recv(65536).decode()
            assert "\n" not in text
            if re.fullmatch(pattern, text):
                return text


@pytest.fixture
def log() -> Iterator[SyslogServer]:
    with SyslogServer() as log:
        yield log


@pytest.mark.directive("error_log")
@pytest.mark.parametrize(
    ("parameters", "head"),
    [
        ("", rf"<1[89]\d> {HOST_NAME} fastmail: "),
        (",facility=mail,tag=mx", rf"<2\d> {HOST_NAME} mx: "),
        (",facility=kern,severity=crit,nohostname", r"<\d> fastmail: "),
    ],
)
def test_syslog(
    site: Site, auth: AuthServer, port: int, log: SyslogServer, parameters: str, head: str
) -> None:
    """The master's lines, and those of sessions, in one form."""
    site.configure(server(auth, port), log=f"syslog:server={log.name}{parameters} info", main=USER)
    site.start()
    priority, rest = head.split(" ", 1)
    start = rf"{priority}{STAMP} {rest}{DATE} "
    log.until(rf"{start}\[notice\] \d+#0: start worker processes")
    with Session(port) as session:
        session.exchange()
    client = r"client: 127\.0\.0\.1, server: \S+, login: \S+, upstream: \S+"
    log.until(rf"{start}\[info\] \d+#0: \*\d+ client 127\.0\.0\.1:\d+ connected to {HOST}:{port}")
    log.until(rf"{start}\[info\] \d+#0: \*\d+ client logged in, {client}")
    log.until(rf"{start}\[info\] \d+#0: \*\d+ proxied session done, {client}")


def test_syslog_by_a_name_whose_last_address_listens(site: Site, auth: AuthServer, port: int) -> None:
    """``localhost`` is ::1 first on most machines, where few syslog servers listen."""
    found = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    hosts = list(dict.fromkeys(str(address[0]) for *_, address in found))
    with Addresses(hosts) as log:
        log.listen(-1)
        site.configure(server(auth, port), main=f"{USER} error_log syslog:server=localhost:{log.port} info;")
        site.start()
        with Session(port) as session:
            session.exchange()
        lines: list[str] = []
        while "proxied session done" not in "".join(lines):
            lines.append(log.receive(-1))
        text = "\n".join(lines)
        for line in ('using the "epoll" event method', "start worker processes", "connected to", "logged in"):
            assert line in text
        for _, (host, number) in log.all[:-1]:
            name = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
            site.wait_log(f"while logging to syslog, server: {re.escape(name)}, trying next address")


def test_priority_is_of_the_line(site: Site, port: int, log: SyslogServer) -> None:
    judge = (answer("OK", port=1),)
    with AuthServer(lambda _: judge) as auth:
        site.configure(server(auth, port), log=f"syslog:server={log.name},nohostname info")
        site.start()
        with socket.create_connection((HOST, port), 10) as client:
            client.sendall(b"a LOGIN u p\r\n")
            client.makefile().read()
    log.until(
        rf"<187>{STAMP} fastmail: {DATE} \[error\] .* recv\(\) failed \(111: Connection refused\) while .*"
    )


def test_syslog_server_that_comes_and_goes(site: Site, auth: AuthServer, port: int) -> None:
    """Without one nothing stops and nothing is slow; a new one is found without a signal."""
    path = site.directory / "syslog"
    main = f"{USER} error_log syslog:server=unix:{path} info;"
    site.configure(server(auth, port), main=main)
    site.start()
    for _ in range(2):
        with Session(port) as session:
            session.exchange()
        with SyslogServer(path) as log:
            with Session(port) as session:
                session.exchange()
            log.until(".* client logged in, .*")
        path.unlink()
    site.wait_log("client logged in", count=4)  # the file has them all


@pytest.mark.parametrize("level", ["main", "mail"])
def test_syslog_server_that_is_not_there_is_named(
    site: Site, auth: AuthServer, port: int, level: str
) -> None:
    """At -t, at the start and at a reload: else nobody would know where the lines are."""
    path = site.directory / "nobody"
    directive = f"error_log syslog:server=unix:{path};"
    main = f"{USER} {directive}" if level == "main" else USER
    site.configure(f"{directive if level == 'mail' else ''} {server(auth, port)}", main=main)
    failed = "connect() failed (2: No such file or directory)"
    said = f"[alert] {failed} while logging to syslog, server: unix:{path}"
    assert site.run("-tq").stderr == f"fastmail: {said}\n"
    site.start()
    assert site.messages().count(said) == 2
    site.signal("reload")
    site.wait_log("reconfiguring")
    wait_for("the reload's alert", lambda: site.messages().count(said) == 3)
    with Session(port) as session:
        session.exchange()


def test_default_file_besides_syslog(site: Site, auth: AuthServer, port: int, log: SyslogServer) -> None:
    """nginx: if the main level names no file, the default one is opened at level error."""
    site.configure(server(auth, port), log=f"syslog:server={log.name} info")
    site.start()
    log.until(".*start worker processes")
    boot = site.bootstrap_log.read_text()
    assert "start worker processes" not in boot
    (worker,) = site.wait_workers(1)
    os.kill(worker, 9)
    wait_for(
        "the alert", lambda: f"worker process {worker} exited on signal 9" in site.bootstrap_log.read_text()
    )
    log.until(rf".*worker process {worker} exited on signal 9")


def test_a_servers_own_logs(site: Site, auth: AuthServer, port: int, log: SyslogServer) -> None:
    """They replace the outer ones for its sessions, and each gets its level."""
    own = f"error_log syslog:server={log.name} info; error_log own.log info; error_log errors.log;"
    site.configure(server(auth, port, own))
    site.start()
    with Session(port) as session:
        session.exchange()
    log.until(".* proxied session done, .*")
    wait_for("the log", lambda: "proxied session done" in (site.directory / "own.log").read_text())
    assert (site.directory / "errors.log").read_text() == ""
    assert not any("client" in line for line in site.log())


def memory(pid: int) -> str:
    """What a person reads of a process's memory log."""
    newest = max(fd for fd, name in opened(pid).items() if "memfd:error_log" in name)
    return Path(f"/proc/{pid}/fd/{newest}").read_bytes()[:-8].decode("latin-1")


def test_memory(site: Site, auth: AuthServer, port: int) -> None:
    """The newest lines stand over the oldest, whichever process wrote them; a reload begins anew."""
    site.configure(server(auth, port), main=f"{USER} error_log memory:4k debug;", log="error.log crit")
    child = site.start()
    (worker,) = site.wait_workers(1)
    wait_for("the first lines", lambda: "start worker process" in memory(child.pid))
    for _ in range(30):
        with Session(port) as session:
            session.exchange()
    wait_for("the last line in both", lambda: memory(worker) == memory(child.pid))
    text = memory(child.pid)
    assert len(text) == 4096
    assert "start worker process" not in text
    assert text.count("client logged in") >= 3
    site.reload()
    with Session(port) as session:
        session.exchange()
    wait_for("the session's end", lambda: "proxied session done" in memory(child.pid))
