"""Run by test_service.py in a machine of its own, where fastmail is installed and systemd is process 1."""

import contextlib
import imaplib
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.installation import commands, install
from support.ports import HOST
from support.processes import alive, children, opened, wait_for

CONF = Path("/etc/fastmail/fastmail.conf")
LOG = Path("/var/log/fastmail/error.log")


@pytest.fixture(autouse=True)
def installed(auth: AuthServer) -> None:
    """The user, a certificate whose key only root can read, and the auth server's address."""
    install()
    sh(
        "mkdir -m 700 /etc/fastmail/tls && cd /etc/fastmail/tls && openssl req -x509 -newkey rsa:2048 -nodes"
        " -subj /CN=mail.example.com -keyout privkey.pem -out fullchain.pem"
    )
    CONF.write_text(CONF.read_text().replace("127.0.0.1:9143", f"127.0.0.1:{auth.port}"))


def sh(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    if done.returncode:
        state = subprocess.getoutput(f"systemctl status fastmail; cat {LOG}")
        pytest.fail(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}{state}")
    return done.stdout.strip()


def shown(name: str) -> str:
    """A property of the unit."""
    return sh(f"systemctl show --value -p {name} fastmail")


@contextlib.contextmanager
def logged_in(port: int = 993, user: str = "user") -> Iterator[imaplib.IMAP4]:
    """A login over TLS from the first byte, or on port 143 after STARTTLS."""
    context = ssl.create_default_context(cafile="/etc/fastmail/tls/fullchain.pem")
    context.check_hostname = False
    client: imaplib.IMAP4
    if port == 143:
        client = imaplib.IMAP4(HOST, port, timeout=10)
        client.starttls(context)
    else:
        client = imaplib.IMAP4_SSL(HOST, port, ssl_context=context, timeout=10)
    with contextlib.closing(client.sock):
        client.login(user, "secret")
        yield client
        client.file.close()


def test_serves_in_its_sandbox() -> None:
    sh("systemctl start fastmail")
    assert shown("StatusText") == f"worker processes: {os.cpu_count()}"
    master = int(shown("MainPID"))
    for port in (993, 143):
        with logged_in(port):
            pass
    account = sh("id -u fastmail")
    limit = min(524288, resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # systemd gives what it may
    for worker in children(master):
        lines = Path(f"/proc/{worker}/status").read_text().splitlines()
        found = {name: value.split() for name, value in (line.split(":", 1) for line in lines)}
        assert found["Uid"] == [account] * 4
        assert (found["CapEff"], found["NoNewPrivs"], found["Seccomp"]) == (["0" * 16], ["1"], ["2"])
        limits = Path(f"/proc/{worker}/limits").read_text()
        assert f"Max open files            {limit:<20} {limit:<20}" in limits
    assert re.search(r"^\d+ \d+ \S+ \S+ / ro,", Path(f"/proc/{master}/mountinfo").read_text(), re.MULTILINE)
    sh("systemctl stop fastmail")
    assert (shown("ActiveState"), shown("Result")) == ("inactive", "success")
    assert not alive(master)
    assert not re.search(r"\[(warn|error|crit|alert|emerg)\]", LOG.read_text()), LOG.read_text()


def test_reload() -> None:
    sh("systemctl start fastmail")
    master, old = shown("MainPID"), children(int(shown("MainPID")))
    CONF.write_text(CONF.read_text().replace("listen 993 ssl;", "listen 993 ssl; listen 1993 ssl;"))
    sh("systemctl reload fastmail")
    wait_for("the end of the old workers", lambda: not any(map(alive, old)))
    assert (shown("MainPID"), shown("ActiveState")) == (master, "active")
    with logged_in(1993):
        pass


def test_broken_configuration() -> None:
    """The reload fails, and what runs goes on; a start fails and says why."""
    sh("systemctl start fastmail")
    CONF.write_text(CONF.read_text() + "nonsense;\n")
    place = f"{CONF}:{len(CONF.read_text().splitlines())}"
    assert subprocess.run(["systemctl", "reload", "fastmail"], stderr=subprocess.DEVNULL).returncode == 1
    assert shown("ActiveState") == "active"
    with logged_in():
        pass
    sh("systemctl stop fastmail")
    assert subprocess.run(["systemctl", "start", "fastmail"], stderr=subprocess.DEVNULL).returncode == 1
    assert shown("StatusText") == f'unknown directive "nonsense" in {place}'


def test_reload_whose_workers_cannot_start() -> None:
    """The configuration is good as far as can be told without them."""
    sh("systemctl start fastmail")
    text = CONF.read_text()
    CONF.write_text(text + "working_directory /nowhere;\n")
    assert subprocess.run(["systemctl", "reload", "fastmail"], stderr=subprocess.DEVNULL).returncode == 1
    assert shown("ActiveState") == "active"
    assert re.fullmatch(r"reload failed: worker process \d+ exited with code 2", shown("StatusText"))
    with logged_in():
        pass
    CONF.write_text(text)
    sh("systemctl reload fastmail")
    sh("systemctl stop fastmail")
    assert shown("Result") == "success"


def test_log_rotation() -> None:
    sh("systemctl start fastmail")
    master = int(shown("MainPID"))
    with logged_in(user="before"):
        pass
    wait_for("the log", lambda: 'login: "before"' in LOG.read_text())
    sh("logrotate -f /etc/logrotate.d/fastmail")
    assert LOG.owner() == "fastmail"
    for pid in (master, *children(master)):
        wait_for("the new log", lambda pid=pid: str(LOG) in opened(pid).values())  # type: ignore[misc]
    with logged_in(user="after"):
        pass
    wait_for("the log", lambda: 'login: "after"' in LOG.read_text())
    assert 'login: "before"' in LOG.with_name("error.log.1").read_text()
    assert "[emerg]" not in LOG.read_text()


def test_upgrade() -> None:
    """USR2, then QUIT to the old master: the service stays active, its main process is the new one."""
    sh("systemctl start fastmail")
    old = int(shown("MainPID"))
    sh("systemctl kill -s USR2 --kill-whom=main fastmail")
    wait_for("the new master", lambda: int(shown("MainPID")) not in (0, old))
    new = int(shown("MainPID"))
    os.kill(old, signal.SIGQUIT)
    wait_for("the old master's end", lambda: not alive(old))
    assert (shown("ActiveState"), int(shown("MainPID"))) == ("active", new)
    with logged_in():
        pass
    sh("systemctl stop fastmail")
    assert (shown("ActiveState"), shown("Result"), alive(new)) == ("inactive", "success", False)


def test_socket_activation() -> None:
    """The first client starts the service; what comes when it has ended starts it again."""
    sh("systemctl start fastmail.socket")
    assert shown("ActiveState") == "inactive"
    for _ in range(2):
        with logged_in():
            wait_for("the start's end", lambda: shown("ActiveState") == "active")
        with socket.create_connection(("::1", 143), 10) as client:
            assert client.recv(100) == b"* OK IMAP4 ready\r\n"
        assert not re.search(r"\[(warn|error|crit|alert|emerg)\]", LOG.read_text()), LOG.read_text()
        sh("systemctl kill -s TERM --kill-whom=main fastmail")
        wait_for("the end", lambda: shown("ActiveState") == "inactive")


def test_sockets_for_a_service_that_runs() -> None:
    sh("systemctl start fastmail")
    sh(commands("systemctl stop fastmail"))
    with logged_in():
        assert shown("ActiveState") == "active"
    sh("systemctl stop fastmail")
    with logged_in():  # the socket was there, and has started it
        wait_for("the start's end", lambda: shown("ActiveState") == "active")
    assert not re.search(r"\[(warn|error|crit|alert|emerg)\]", LOG.read_text()), LOG.read_text()
