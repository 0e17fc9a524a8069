"""Mail read through the proxy's POP3 by real clients, with a real Dovecot behind it."""

import base64
import hashlib
import hmac
import os
import poplib
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import ports
from support.authserver import AuthServer, Request, answer
from support.dovecot import PASSWORD, Dovecot
from support.listener import Moves
from support.mailhouse import right
from support.proxy import Proxy
from support.script import Client

LARGE = 30_000_000
USERS = [f"user{number}" for number in range(60)]


class Site:
    """Dovecot, the auth server that sends everybody there, and the proxy in front."""

    def __init__(self, kind: str, main: str) -> None:
        self._fresh = iter(USERS)
        self.methods: list[str] = []
        with ExitStack() as stack:
            self.dovecot = stack.enter_context(Dovecot(USERS))
            auth = stack.enter_context(AuthServer(self._judge))
            self.port = ports.reserve()
            mail = (
                f"auth_http 127.0.0.1:{auth.port}/auth; timeout 5s; pop3_auth plain apop cram-md5;\n"
                "pop3_capabilities TOP USER UIDL PIPELINING RESP-CODES; proxy_pass_error_message on;\n"
                f"server {{ listen 127.0.0.1:{self.port}; protocol pop3; }}"
            )
            self.proxy = stack.enter_context(Proxy(kind, mail, [self.port], main=main))
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def user(self, *messages: bytes) -> str:
        """A user with these messages in the inbox, in this order."""
        user = next(self._fresh)
        new = self.dovecot.directory / "mail" / user / "mail" / "new"
        for directory in (new, new.parent / "cur", new.parent / "tmp"):
            directory.mkdir(parents=True)
        for number, text in enumerate(messages):
            (new / f"{1700000000 + number}.M{number}.host").write_bytes(text)
        if os.geteuid() == 0:
            home = new.parents[1]
            owner = home.parent.stat()
            for path in [home, *home.rglob("*")]:
                os.chown(path, owner.st_uid, owner.st_gid)
        return user

    def login(self, user: str, password: str = PASSWORD) -> poplib.POP3:
        """A client that has logged in with USER and PASS."""
        client = poplib.POP3("127.0.0.1", self.port, timeout=60)
        try:
            client.user(user)
            client.pass_(password)
        except BaseException:
            client.close()
            raise
        return client

    def _judge(self, request: Request) -> Moves:
        self.methods.append(request.headers["auth-method"])
        if not right(request.headers):
            return answer("Invalid login or password")
        return answer("OK", f"Auth-Pass: {PASSWORD}", port=self.dovecot.pop3)


@pytest.fixture(
    scope="module",
    params=["user root;", "user nobody nogroup;"] if os.geteuid() == 0 else [""],
    ids=lambda main: main.strip(";") or "own user",
)
def site(request: pytest.FixtureRequest, proxy_kind: str) -> Iterator[Site]:
    site = Site(proxy_kind, request.param)
    yield site
    site.close()


def message(size: int) -> bytes:
    """A message of about so many bytes: dots, 8-bit, lines of 998 bytes."""
    generator = random.Random(size)
    line = bytes(byte if byte not in b"\0\r\n" else 46 for byte in generator.randbytes(998)) + b"\r\n"
    head = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: %d\r\n\r\n" % size
    return head + b".\r\n..\r\n.a\r\n\r\n.\r\nFrom here\r\n" + line * (size // len(line))


def retrieve(client: poplib.POP3, number: int) -> bytes:
    return b"\r\n".join(client.retr(number)[1]) + b"\r\n"


def run(*command: str, environment: dict[str, str] | None = None) -> bytes:
    """A client program has to succeed; gives what it prints."""
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr.decode("latin-1")
    return done.stdout


def test_poplib_does_everything(site: Site) -> None:
    texts = [message(size) for size in (0, 500, 5000, 70_000)]
    user = site.user(*texts)
    client = site.login(user)
    assert site.methods[-1] == "plain"
    assert client.stat() == (4, sum(map(len, texts)))
    assert client.list()[1] == [b"%d %d" % (number, len(text)) for number, text in enumerate(texts, 1)]
    assert len({line.split()[1] for line in client.uidl()[1]}) == 4
    assert [retrieve(client, number) for number in (1, 2, 3, 4)] == texts
    assert client.top(4, 2)[1] == texts[3].split(b"\r\n")[:6]
    client.noop()
    client.dele(2)
    client.quit()
    client = site.login(user)
    assert [retrieve(client, number) for number in (1, 2, 3)] == [texts[0], texts[2], texts[3]]
    client.quit()


def test_poplib_apop(site: Site) -> None:
    user = site.user(message(100))
    client = poplib.POP3("127.0.0.1", site.port, timeout=60)
    assert client.apop(user, PASSWORD).startswith(b"+OK")
    assert site.methods[-1] == "apop"
    assert retrieve(client, 1) == message(100)
    client.quit()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_auth_step_by_step(site: Site, mechanism: str) -> None:
    user = site.user()

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    with Client(site.port) as client:
        assert client.lines(1).startswith(b"+OK POP3 ready <")
        client.send(f"AUTH {mechanism}")
        prompt = client.lines(1)
        if mechanism == "CRAM-MD5":
            digest = hmac.new(PASSWORD.encode(), base64.b64decode(prompt[2:]), hashlib.md5).hexdigest()
            client.send(encoded(f"{user} {digest}"))
        elif mechanism == "LOGIN":
            assert prompt == b"+ VXNlcm5hbWU6\r\n"
            client.send(encoded(user))
            assert client.lines(1) == b"+ UGFzc3dvcmQ6\r\n"
            client.send(encoded(PASSWORD))
        else:
            assert prompt == b"+ \r\n"
            client.send(encoded(f"\0{user}\0{PASSWORD}"))
        assert client.lines(1) == b"+OK Logged in.\r\n"
        client.send("STAT")
        assert client.lines(1) == b"+OK 0 0\r\n"


def test_large_message(site: Site) -> None:
    user = site.user(message(LARGE))
    client = site.login(user)
    assert retrieve(client, 1) == message(LARGE)
    client.quit()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "+APOP"])
def test_curl_reads(site: Site, mechanism: str, tmp_path: Path) -> None:
    user = site.user(message(100_000))
    url = f"pop3://127.0.0.1:{site.port}/1"
    output = tmp_path / "read"
    run("curl", "-sS", "--user", f"{user}:{PASSWORD}", "--login-options", f"AUTH={mechanism}",
        "--output", str(output), url)  # fmt: skip
    method = {"+APOP": "apop", "CRAM-MD5": "cram-md5"}.get(mechanism, "plain")
    assert site.methods[-1] == method
    assert output.read_bytes() == message(100_000)


@pytest.mark.parametrize("method", ["plain", "apop", "cram-md5"])
def test_fetchmail_moves_mail(site: Site, method: str, tmp_path: Path) -> None:
    texts = [message(size) for size in (0, 500, 5000, 70_000)]
    user = site.user(*texts)
    protocol = {"plain": "pop3 auth password", "apop": "apop", "cram-md5": "pop3 auth cram-md5"}[method]
    configuration = tmp_path / "fetchmailrc"
    configuration.write_text(
        f'set invisible\npoll 127.0.0.1 protocol {protocol} port {site.port}\n  user "{user}" password'
        f' "{PASSWORD}" sslproto \'\' fetchall norewrite mda "cat >> {tmp_path}/read"\n'
    )
    configuration.chmod(0o600)
    home = str(tmp_path)
    environment = {"PATH": "/usr/bin:/bin", "HOME": home, "FETCHMAILHOME": home, "LC_ALL": "C"}
    run("fetchmail", "-f", str(configuration), environment=environment)
    assert site.methods[-1] == method
    assert (tmp_path / "read").read_bytes() == b"".join(texts).replace(b"\r\n", b"\n")
    assert site.dovecot.messages(user) == []


def test_wrong_password_is_refused(site: Site) -> None:
    with pytest.raises(poplib.error_proto, match="-ERR Invalid login or password"):
        site.login(site.user(), "wrong")


def test_dovecot_refuses_a_locked_user_in_its_own_words(site: Site) -> None:
    """The auth server accepts somebody that Dovecot does not know: proxy_pass_error_message shows why."""
    with pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\] Authentication failed"):
        site.login("stranger")
