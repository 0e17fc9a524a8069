"""Mail read and stored through the proxy by real clients, with a real Dovecot behind it."""

import contextlib
import imaplib
import os
import pwd
import random
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import ports
from support.authserver import AuthServer, Request, answer
from support.dovecot import PASSWORD, Dovecot
from support.engine import BYE
from support.listener import Moves
from support.proxy import Proxy
from support.script import Client

USERS = [f"user{number}" for number in range(20)]
SESSIONS = 200
LARGE = 30_000_000


class Site:
    """Dovecot, the auth server that sends everybody there, and the proxy in front.

    On ``hasty_port`` the login must be done within 2 seconds.
    """

    def __init__(self, kind: str, main: str) -> None:
        with contextlib.ExitStack() as stack:
            self.dovecot = stack.enter_context(Dovecot(USERS))
            auth = stack.enter_context(AuthServer(self._judge))
            self.port = ports.reserve()
            self.hasty_port = ports.reserve()
            mail = (
                f"auth_http 127.0.0.1:{auth.port}/auth; imap_capabilities IMAP4rev1 UIDPLUS IDLE;\n"
                f"server {{ listen 127.0.0.1:{self.port}; protocol imap; }}\n"
                f"server {{ listen 127.0.0.1:{self.hasty_port}; protocol imap; timeout 2s; }}"
            )
            self.proxy = stack.enter_context(Proxy(kind, mail, [self.port, self.hasty_port], main=main))
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def login(self, user: str) -> imaplib.IMAP4:
        """A client that has logged in and selected its inbox."""
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=60)
        try:
            client.login(user, PASSWORD)
            assert client.select()[0] == "OK"
        except BaseException:
            client.shutdown()
            raise
        return client

    def _judge(self, request: Request) -> Moves:
        if request.headers["auth-pass"] != PASSWORD.replace(" ", "%20"):
            return answer("Invalid login or password")
        return answer("OK", port=self.dovecot.imap)


@pytest.fixture(
    scope="module",
    params=["user root;", "user nobody nogroup;"] if os.geteuid() == 0 else [""],
    ids=lambda main: main.strip(";") or "own user",
)
def site(request: pytest.FixtureRequest, proxy_kind: str) -> Iterator[Site]:
    site = Site(proxy_kind, request.param)
    yield site
    site.close()


@pytest.fixture
def user(site: Site) -> Iterator[str]:
    """A user whose inbox is empty."""
    with site.login("user0") as client:
        if client.select()[1] != [b"0"]:
            client.store("1:*", "+FLAGS", r"\Deleted")
            client.expunge()
    yield "user0"


def message(size: int, seed: int = 1) -> bytes:
    """A message of about so many bytes, with 8-bit, dots and long lines, that a mailbox keeps as it is."""
    generator = random.Random(seed)
    line = bytes(byte if byte not in b"\0\r\n" else 46 for byte in generator.randbytes(996)) + b"\r\n"
    head = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: " + str(seed).encode() + b"\r\n\r\n"
    return head + b".\r\n..\r\nFrom here\r\n" + line * (size // len(line))


def test_imaplib_stores_and_reads(site: Site, user: str) -> None:
    texts = [message(size, size) for size in (0, 500, 5000, 70_000)]
    with site.login(user) as client:
        for text in texts:
            assert client.append("INBOX", r"\Flagged", None, text)[0] == "OK"
        assert sorted(site.dovecot.messages(user)) == sorted(texts)
        assert [fetch(client, number) for number in range(1, len(texts) + 1)] == texts
        assert client.logout()[0] == "BYE"


def test_imaplib_authenticates(site: Site) -> None:
    with imaplib.IMAP4("127.0.0.1", site.port, timeout=60) as client:
        client.authenticate("PLAIN", lambda challenge: f"\0user1\0{PASSWORD}".encode())
        assert client.select()[0] == "OK"


def test_wrong_password_is_refused(site: Site) -> None:
    with Client(site.port) as client:
        client.lines(1)
        client.send("a LOGIN user1 wrong")
        assert client.rest().removesuffix(BYE) == b"a NO Invalid login or password\r\n"
        assert client.closed


def test_large_message_both_ways(site: Site, user: str) -> None:
    text = message(LARGE)
    with site.login(user) as client:
        assert client.append("INBOX", "", None, text)[0] == "OK"
        assert site.dovecot.messages(user) == [text]
        assert fetch(client, 1) == text


def test_curl_stores_and_reads(site: Site, user: str, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(message(100_000))
    url = f"imap://127.0.0.1:{site.port}/INBOX"
    run("curl", "-sS", "--user", f"{user}:{PASSWORD}", "--upload-file", str(sent), url)
    assert site.dovecot.messages(user) == [sent.read_bytes()]
    read = tmp_path / "read"
    run("curl", "-sS", "--user", f"{user}:{PASSWORD}", "--output", str(read), f"{url};MAILINDEX=1")
    assert read.read_bytes() == sent.read_bytes()


def test_mbsync_mirrors_both_ways(site: Site, user: str, tmp_path: Path) -> None:
    remote = [message(3000, seed) for seed in (1, 2, 3)]
    with site.login(user) as client:
        for text in remote:
            client.append("INBOX", "", None, text)
    inbox = tmp_path / "mail/INBOX"
    (tmp_path / "mail").mkdir()
    configuration = tmp_path / "mbsyncrc"
    configuration.write_text(
        f"IMAPAccount a\nHost 127.0.0.1\nPort {site.port}\nUser {user}\nPass \"{PASSWORD}\"\n"
        "SSLType None\nAuthMechs LOGIN\n\n"
        f"IMAPStore far\nAccount a\n\nMaildirStore near\nPath {tmp_path}/mail/\nInbox {inbox}\n\n"
        f"Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Both\nSyncState {tmp_path}/\n"
    )  # fmt: skip
    run("mbsync", "-c", str(configuration), "c")
    mirrored = sorted(
        without_tuid(path.read_bytes()) for path in [*inbox.glob("new/*"), *inbox.glob("cur/*")]
    )
    assert mirrored == sorted(text.replace(b"\r\n", b"\n") for text in remote)

    own = message(4000, 9).replace(b"\r\n", b"\n")
    (inbox / "new" / "1.own").write_bytes(own)
    run("mbsync", "-c", str(configuration), "c")
    pushed = site.dovecot.messages(user)
    assert len(pushed) == 4
    assert any(without_tuid(text) == own.replace(b"\n", b"\r\n") for text in pushed)


def test_idle_outlives_timeout(site: Site, user: str) -> None:
    with Client(site.hasty_port, patience=20) as watcher:
        watcher.lines(1)
        watcher.send(f'a LOGIN {user} "{PASSWORD}"')
        assert last_line(watcher, b"a ").startswith(b"a OK ")
        watcher.send("b SELECT INBOX")
        last_line(watcher, b"b ")
        watcher.send("c IDLE")
        assert watcher.lines(1).startswith(b"+ ")
        with Client(site.hasty_port, patience=20) as other:
            other.rest()
            assert other.closed  # and so would the watcher be, if it were not relayed
        with site.login(user) as client:
            client.append("INBOX", "", None, message(100))
        assert last_line(watcher, b"* 1 ") == b"* 1 EXISTS\r\n"
        watcher.send("DONE")
        assert last_line(watcher, b"c ").startswith(b"c OK ")


def test_many_sessions_at_once(site: Site, user: str) -> None:
    texts = {name: message(2000, seed) for seed, name in enumerate(USERS)}
    everybody = threading.Barrier(SESSIONS, timeout=60)

    def session(number: int) -> bytes:
        name = USERS[number % len(USERS)]
        with site.login(name) as client:
            if number < len(USERS):
                client.append("INBOX", "", None, texts[name])
            everybody.wait()  # all are logged in, all messages stored
            client.noop()
            return fetch(client, 1)

    worker = site.proxy.worker
    with ThreadPoolExecutor(SESSIONS) as pool:
        read = list(pool.map(session, range(SESSIONS)))
    assert read == [texts[USERS[number % len(USERS)]] for number in range(SESSIONS)]
    assert site.proxy.worker == worker


def test_workers_run_as_configured(site: Site, request: pytest.FixtureRequest) -> None:
    uid = Path(f"/proc/{site.proxy.worker}").stat().st_uid
    assert uid == (pwd.getpwnam("nobody").pw_uid if "nobody" in request.node.name else os.geteuid())


def fetch(client: imaplib.IMAP4, number: int) -> bytes:
    """A message as it is sent over the wire."""
    status, data = client.fetch(str(number), "(BODY.PEEK[])")
    assert status == "OK"
    assert isinstance(data[0], tuple)
    return data[0][1]


def last_line(client: Client, start: bytes) -> bytes:
    """Read up to the line that starts so."""
    while line := client.lines(1):
        if line.startswith(start):
            return line
    raise AssertionError(f"no {start!r} in {bytes(client.received)!r}")


def without_tuid(text: bytes) -> bytes:
    """mbsync marks what it copies."""
    return re.sub(rb"(?m)^X-TUID: [^\r\n]*\r?\n", b"", text)


def run(*command: str) -> None:
    """A client program has to succeed."""
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode("latin-1")
