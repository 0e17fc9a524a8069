"""Run by test_migrate.py in a machine of its own: nginx is switched to fastmail and back as it is told."""

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authserver import AuthServer
from support.installation import commands, install
from support.processes import Echo, Session, alive, wait_for

FASTMAIL = "/opt/fastmail/bin/fastmail"
NGINX_CONF = Path("/etc/nginx/nginx.conf")
NGINX_PID = Path("/run/nginx.pid")
PORT = 143

MAIN = """\
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
user www-data;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log info;
events { worker_connections 768; }
"""
HTTP = 'http {\n    server { listen 127.0.0.1:80; location / { return 200 "a page"; } }\n}\n'


@pytest.fixture
def backend() -> Iterator[Echo]:
    with Echo() as backend:
        yield backend


@pytest.fixture
def mail(auth: AuthServer) -> str:
    """A mail block; its relative name is one in nginx's directory, a server has a log of its own."""
    Path("/var/log/nginx").mkdir()
    NGINX_CONF.with_name("imap.conf").write_text("protocol imap;\n")
    return (
        f"mail {{\n    auth_http 127.0.0.1:{auth.port};\n"
        f"    server {{ listen 127.0.0.1:{PORT}; include imap.conf; }}\n"
        "    server { listen 127.0.0.1:110; protocol pop3; error_log /var/log/nginx/pop3.log; }\n} # mail\n"
    )


def sh(command: str) -> str:
    done = subprocess.run(
        command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    logs = "" if done.returncode == 0 else subprocess.getoutput("tail -n 50 /var/log/*/*.log /var/log/*.log")
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}{logs}"
    return done.stdout


def instructions() -> tuple[str, str, str]:
    """What to run before, to switch over, and to switch back."""
    sections: dict[str, str] = {"Before (what is served does not change)": ""}
    title = ""
    for line in sh(f"{FASTMAIL} migrate {NGINX_CONF}").splitlines():
        if line.startswith("    "):
            sections[title] += line.strip() + "\n"
        elif line:
            title = line
            sections[title] = ""
    before, over, back = (text for title, text in sections.items() if title.startswith(("Before", "Switch")))
    assert len(over.splitlines()) == len(back.splitlines()) == 1
    return before, over, back


def serves(log: str, user: str) -> bool:
    """Whether a login works, and is in this log."""
    try:
        with Session(PORT, user) as session:
            session.exchange()
    except (OSError, AssertionError):
        return False
    path = Path(log)
    return path.exists() and f'login: "{user}"' in path.read_text()


def switch(fastmail_log: str = "/var/log/fastmail.log", turns: int = 2) -> None:
    """There and back; at each step the one that is to serve does."""
    nginx_log = "/var/log/nginx/error.log"
    wait_for("nginx", lambda: serves(nginx_log, "first"))
    before, over, back = instructions()
    sh(before)
    wait_for("nginx as before", lambda: serves(nginx_log, "second"))
    for turn in range(turns):
        sh(over)
        wait_for("fastmail", lambda turn=turn: serves(fastmail_log, f"there{turn}"))  # type: ignore[misc]
        sh(back)
        wait_for("nginx", lambda turn=turn: serves(nginx_log, f"back{turn}"))  # type: ignore[misc]


def page() -> str:
    with urllib.request.urlopen("http://127.0.0.1/") as answer:
        return str(answer.read().decode())


def start_nginx() -> int:
    """Its pid, which it writes after the command has returned."""
    sh("nginx")
    wait_for("nginx's pid file", lambda: NGINX_PID.exists() and NGINX_PID.read_text())
    return int(NGINX_PID.read_text())


def test_mail_only(mail: str) -> None:
    NGINX_CONF.write_text(MAIN + mail)
    first = start_nginx()
    switch()
    assert not alive(first)


def test_beside_http(mail: str) -> None:
    NGINX_CONF.write_text(MAIN + mail + HTTP)
    first = start_nginx()
    switch()
    assert (page(), int(NGINX_PID.read_text())) == ("a page", first)
    assert NGINX_CONF.read_text() == MAIN + mail + HTTP


def test_mail_in_a_file_of_its_own(mail: str) -> None:
    directory = NGINX_CONF.with_name("mail-enabled")
    directory.mkdir()
    (directory / "mail").write_text("# for nginx\n" + mail)
    NGINX_CONF.write_text(MAIN + HTTP + "include mail-enabled/*;\n")
    sh("nginx")
    switch()
    assert page() == "a page"
    assert [entry.name for entry in directory.iterdir()] == ["mail"]


def test_units(mail: str) -> None:
    """nginx.service and fastmail.service: what is stopped stays so at the next boot."""
    install()
    NGINX_CONF.write_text(MAIN + mail)
    sh("systemctl enable --now nginx")
    switch("/var/log/fastmail/error.log", turns=1)
    assert sh("systemctl is-enabled nginx; systemctl is-enabled fastmail || true") == "enabled\ndisabled\n"


def test_units_beside_http(mail: str) -> None:
    install()
    NGINX_CONF.write_text(MAIN + mail + HTTP)
    sh("systemctl enable --now nginx")
    first = NGINX_PID.read_text()
    switch("/var/log/fastmail/error.log", turns=1)
    assert (page(), NGINX_PID.read_text()) == ("a page", first)


def test_units_and_a_socket(mail: str) -> None:
    """fastmail.socket is in nobody's way: enabled before the switch, or after it as docs/service.md says."""
    install()
    NGINX_CONF.write_text(MAIN + mail.replace("listen 127.0.0.1:", "listen "))
    sh("systemctl enable fastmail.socket && systemctl enable --now nginx")
    wait_for("nginx", lambda: serves("/var/log/nginx/error.log", "first"))
    before, over, back = instructions()
    sh(before + over)
    wait_for("fastmail", lambda: serves("/var/log/fastmail/error.log", "there"))
    states = "systemctl is-enabled nginx fastmail.socket fastmail; systemctl is-active fastmail.socket; true"
    assert sh(states).split() == ["disabled", "disabled", "enabled", "inactive"]
    sh(commands("systemctl stop fastmail"))
    wait_for("fastmail", lambda: serves("/var/log/fastmail/error.log", "activated"))
    sh(back)
    wait_for("nginx", lambda: serves("/var/log/nginx/error.log", "back"))
    assert sh(states).split() == ["enabled", "disabled", "disabled", "inactive"]
