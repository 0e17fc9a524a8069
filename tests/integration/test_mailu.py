"""The example of docs/examples/mailu, from its very files: HAProxy, the proxy, Flask and Postfix."""

import os
import re
import shutil
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ports
from support.dovecot import Dovecot
from support.mailhouse import CLIENT
from support.postfix import DOMAIN, Postfix
from support.processes import ROOT, wait_for

EXAMPLE = ROOT / "docs/examples/mailu"
BLOCKED = "127.0.0.3"


class Front:
    """The example's files with free ports in the place of theirs, and the programs that they are for."""

    def __init__(self, kind: str, version: str, smtp: int, directory: Path) -> None:
        self.port, inner, auth = ports.reserve(), ports.reserve(), ports.reserve()
        self.directory = directory
        names = {":25\n": f":{self.port}\n", ":10025": f":{inner}", ":8000": f":{auth}"}
        names |= {"send-proxy-v2": version, "/run/mailu-front.pid": str(directory / "pid")}
        for name in ("nginx.conf", "haproxy.cfg"):
            text = (EXAMPLE / name).read_text()
            for old, new in names.items():
                text = text.replace(old, new)
            (directory / name).write_text(text)
        shutil.copy(EXAMPLE / "auth.py", directory)
        configuration = str(directory / "nginx.conf")
        proxy = [sys.executable, "-m", "fastmail"] if kind == "fastmail" else ["/usr/sbin/nginx"]
        self._processes = [
            self._run("auth", sys.executable, "-m", "flask", "--app", "auth", "run", "--port", str(auth),
                      SMTP_PORT=str(smtp), BLOCKED=BLOCKED),
            self._run(kind, *proxy, "-c", configuration, "-e", "stderr", "-g", "daemon off;"),
            self._run("haproxy", "/usr/sbin/haproxy", "-db", "-f", str(directory / "haproxy.cfg")),
        ]  # fmt: skip
        try:
            wait_for("the front", lambda: all(map(ports.listening, (self.port, inner, auth))), 30)
        except AssertionError:
            self.stop()
            raise AssertionError("".join(map(self.output, ("auth", kind, "haproxy")))) from None

    def _run(self, name: str, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (self.directory / f"{name}.out").open("wb") as output:
            return subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )  # fmt: skip

    def output(self, name: str) -> str:
        return (self.directory / f"{name}.out").read_text("latin-1")

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(20)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot(["alice", "bob"]) as dovecot:
        yield dovecot


@pytest.fixture(scope="module")
def postfix(dovecot: Dovecot) -> Iterator[Postfix]:
    with Postfix(dovecot, ["alice", "bob"]) as postfix:
        yield postfix


FRONTS = [("fastmail", "send-proxy-v2"), ("fastmail", "send-proxy"), ("nginx", "send-proxy-v2")]


@pytest.fixture(params=FRONTS, ids=" ".join)
def front(request: pytest.FixtureRequest, postfix: Postfix, tmp_path: Path) -> Iterator[tuple[str, Front]]:
    kind, version = request.param
    directory = tmp_path
    for one in (directory, *list(directory.parents)[:-2]):
        one.chmod(0o755)  # workers of another user look into it
    front = Front(kind, version, postfix.incoming, directory)
    yield kind, front
    front.stop()


def send(
    front: Front, recipients: list[str], text: str, source: str = CLIENT
) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", front.port, "client.example", 30, source_address=(source, 0)) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "52428800"
        assert "chunking" not in client.esmtp_features
        return client.sendmail("sender@elsewhere.example", recipients, text)


@pytest.mark.directive("smtp_auth", "xclient", "auth_http_header", "proxy_protocol", "set_real_ip_from")
def test_mail_from_the_world(front: tuple[str, Front], dovecot: Dovecot) -> None:
    kind, mailu = front
    before = len(dovecot.messages("alice")), len(dovecot.messages("bob"))
    refused = send(
        mailu, [f"alice@{DOMAIN}", f"nobody@{DOMAIN}", f"bob@{DOMAIN}"], "Subject: x\r\n\r\nhello\r\n"
    )
    assert set(refused) == {f"nobody@{DOMAIN}"}  # Postfix's own word, behind the login
    assert refused[f"nobody@{DOMAIN}"][0] == 550
    wait_for(
        "delivery",
        lambda: (
            (len(dovecot.messages("alice")), len(dovecot.messages("bob"))) == (before[0] + 1, before[1] + 1)
        ),
    )
    assert b"hello" in dovecot.messages("alice")[-1]
    told = f"{CLIENT} port $remote_port: MAIL FROM:<sender@elsewhere.example>"
    wait_for("the auth server's log", lambda: told.lower() in mailu.output("auth").lower())
    pattern = rf"client logged in, client: {re.escape(CLIENT)}, server: 127\.0\.0\.1:\d+"
    wait_for("the log", lambda: re.search(pattern, mailu.output(kind)))


def test_recipients_elsewhere_and_unwanted_clients(front: tuple[str, Front]) -> None:
    kind, mailu = front
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        send(mailu, ["someone@elsewhere.example"], "")
    assert caught.value.recipients == {"someone@elsewhere.example": (554, b"5.7.1 Relay access denied")}
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        send(mailu, [f"alice@{DOMAIN}"], "", BLOCKED)
    assert caught.value.recipients == {f"alice@{DOMAIN}": (554, b"5.7.1 Go away")}
    pattern = rf'client login failed: "Go away" .*client: {re.escape(BLOCKED)}, '
    wait_for("the log", lambda: re.search(pattern, mailu.output(kind)))


def test_first_recipient_refused_by_postfix(front: tuple[str, Front]) -> None:
    """Its refusal is what the client hears, and the session goes on behind it."""
    _, mailu = front
    with smtplib.SMTP("127.0.0.1", mailu.port, "client.example", 30, source_address=(CLIENT, 0)) as client:
        client.ehlo()
        client.mail("sender@elsewhere.example")
        assert client.rcpt(f"nobody@{DOMAIN}")[0] == 550
        assert client.rcpt(f"bob@{DOMAIN}")[0] == 250


def test_swaks(front: tuple[str, Front], dovecot: Dovecot) -> None:
    _, mailu = front
    before = len(dovecot.messages("bob"))
    done = subprocess.run(
        ["swaks", "--server", "127.0.0.1", "--port", str(mailu.port), "--from", "sender@elsewhere.example",
         "--to", f"bob@{DOMAIN}", "--helo", "client.example", "--hide-all"], capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for("delivery", lambda: len(dovecot.messages("bob")) == before + 1)
