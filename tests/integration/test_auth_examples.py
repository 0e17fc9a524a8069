"""The auth servers of docs/examples/auth, from their very files: each behind a proxy, before a mailbox."""

import imaplib
import poplib
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import ports
from support.network import own_network
from support.processes import ROOT, wait_for

EXAMPLE = ROOT / "docs/examples/auth"
SERVERS = {
    "flask": [sys.executable, "-m", "flask", "--app", "flask_auth", "run", "--port", "8000"],
    "fastapi": [sys.executable, "-m", "uvicorn", "--port", "8000", "fastapi_auth:app"],
    "shell": ["/usr/sbin/lighttpd", "-D", "-f", "lighttpd.conf"],
}
IMAP, POP3, SMTP = 2143, 2110, 2025
FASTMAIL = [sys.executable, "-m", "fastmail"]


@pytest.fixture(scope="module", params=SERVERS)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All three programs, on the ports that the example names."""
    directory = tmp_path_factory.mktemp("auth") / "example"
    shutil.copytree(EXAMPLE, directory)
    commands = [
        SERVERS[request.param],
        [*FASTMAIL, "demo", "--ports", "10143,10110,10025"],
        [*FASTMAIL, "-p", str(directory), "-c", "fastmail.conf", "-g", "daemon off;"],
    ]
    with own_network(), ExitStack() as stack:
        for command in commands:
            stack.callback(end, start(command, directory))
        listens = (8000, 10143, 10110, 10025, IMAP, POP3, SMTP)
        wait_for("all of them", lambda: all(map(ports.listening, listens)), 60)
        output = directory / "output"
        wait_for("the demo's proxy", lambda: "Running" in output.read_text(errors="replace"), 60)
        yield


def start(command: list[str], directory: Path) -> "subprocess.Popen[bytes]":
    with (directory / "output").open("ab") as output:
        return subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip


def end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(20)


@pytest.mark.usefixtures("house")
class TestServer:
    def test_imap(self) -> None:
        with imaplib.IMAP4("127.0.0.1", IMAP, timeout=30) as client:
            client.login("user", "pass")
            assert client.select()[0] == "OK"

    def test_pop3(self) -> None:
        client = poplib.POP3("127.0.0.1", POP3, timeout=30)
        client.user("user")
        client.pass_("pass")
        assert b"Subject: Welcome" in client.retr(1)[1]
        client.quit()

    def test_smtp(self) -> None:
        with smtplib.SMTP("127.0.0.1", SMTP, timeout=30) as client:
            client.login("user", "pass")
            assert client.mail("user@example.com")[0] == 250

    @pytest.mark.parametrize(
        ("user", "password"),
        [
            ("user", "wrong"),
            ("user", ""),
            ("nobody", "pass"),
            ("user", "pa%73s"),  # undone twice it would be the password
            ("user", "pass "),
            ("user pass", ""),
            ("us.r", "pass"),
            ("-e", "pass"),
            ("*", "*"),
        ],
    )
    def test_nobody_else_gets_in(self, user: str, password: str) -> None:
        """After the refusal the session goes on, and the right password is taken."""
        with imaplib.IMAP4("127.0.0.1", IMAP, timeout=30) as client:
            with pytest.raises(imaplib.IMAP4.error, match="Invalid login or password"):
                client.login(f'"{user}"', password)
            client.login("user", "pass")
