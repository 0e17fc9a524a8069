"""The example at the top of nginx's mail core module page, unchanged, on the ports it names."""

import os
import poplib
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import ports
from support.authserver import AuthServer, Request, answer
from support.backend import Backend
from support.core_page import EXAMPLE
from support.dovecot import PASSWORD
from support.listener import PATIENCE, Moves
from support.mailhouse import right
from support.network import own_network
from support.processes import ROOT, children, serving, wait_for
from support.program import path_of
from support.proxy import NGINX_MODULE
from support.script import Client

AUTH_PORT = 9000
LISTENS = (25, 110, 143, 587)

_WITH_OWN_LOGS = 'mount -t tmpfs tmpfs /var/log && mkdir /var/log/nginx && exec "$@"'
"""A shell script that hides the machine's /var/log from the command it becomes."""


class Site:
    """The proxy with the example as its configuration, the auth server of the example, a backend each."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.backends = {protocol: Backend() for protocol in ("imap", "pop3", "smtp")}
        self.auth = AuthServer(self._judge, port=AUTH_PORT)
        self.requests: list[Request] = []
        self.configuration = directory / "nginx.conf"
        self.configuration.write_text(EXAMPLE)
        self._directory = directory
        self._process = subprocess.Popen(
            self.command(kind), stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            wait_for("the ports", lambda: self._ended() or all(map(ports.listening, LISTENS)))
            assert not self._ended()
        except BaseException:
            self.close()
            raise

    def command(self, kind: str) -> list[str]:
        """The proxy's command line; logs and pid file stay away from the machine's own."""
        hidden = ["unshare", "--mount", "sh", "-c", _WITH_OWN_LOGS, "sh"]
        own = ["-p", str(self._directory), "-e", "stderr", "-c", str(self.configuration)]
        pid = self._directory / "pid"
        if kind == "nginx":
            directives = f"load_module {NGINX_MODULE}; daemon off; pid {pid};"
            return [*hidden, path_of("nginx"), *own, "-g", directives]
        return [*hidden, sys.executable, "-m", "fastmail", *own, "--pid", str(pid), "-g", "daemon off;"]

    def log(self) -> str:
        """The log that the example asks for."""
        return Path(f"/proc/{self._process.pid}/root/var/log/nginx/error.log").read_text("latin-1")

    def workers(self) -> list[int]:
        """The pids of the workers."""
        return children(self._process.pid)

    def close(self) -> None:
        with ExitStack() as stack:
            for listener in (self.auth, *self.backends.values()):
                stack.callback(listener.close)
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(PATIENCE) == 0

    def _ended(self) -> bool:
        return self._process.poll() is not None

    def _judge(self, request: Request) -> Moves:
        self.requests.append(request)
        if not right(request.headers):
            return answer("Invalid login or password")
        backend = self.backends[request.headers["auth-protocol"]]
        return answer("OK", f"Auth-Pass: {PASSWORD}", port=backend.port)


@pytest.fixture(scope="module")
def site(proxy_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if os.geteuid() != 0:
        pytest.fail("the example listens on ports 25, 110, 143 and 587: this test needs root")
    with own_network():
        site = Site(proxy_kind, tmp_path_factory.mktemp("core-page"))
        yield site
        site.close()


def test_smtp_capabilities(site: Site) -> None:
    for port in (25, 587):
        with Client(port) as client:
            assert client.lines(1) == b"220 mail.example.com ESMTP ready\r\n"
            client.send("EHLO c")
            assert client.lines(5) == (
                b"250-mail.example.com\r\n250-SIZE 10485760\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n"
                b"250-DSN\r\n"
            )
            assert client.lines(1) == b"250 AUTH PLAIN LOGIN CRAM-MD5\r\n"


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram_md5"])
@pytest.mark.parametrize("port", [25, 587])
def test_smtp_login(site: Site, port: int, mechanism: str) -> None:
    site.backends["smtp"].script(["220 b", "250 b", "250 backend noop", "221 backend bye"])
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.user, client.password = "joe", PASSWORD
        client.ehlo("client")
        name = mechanism.upper().replace("_", "-")
        assert client.auth(name, getattr(client, f"auth_{mechanism}")) == (235, b"2.0.0 OK")
        assert client.noop() == (250, b"backend noop")
    request = site.requests[-1]
    assert request.raw.startswith(b"GET /cgi-bin/nginxauth.cgi HTTP/1.0\r\nHost: localhost\r\n")
    assert request.headers["auth-method"] == ("cram-md5" if mechanism == "cram_md5" else "plain")
    site.backends["smtp"].wait_ended()
    (connection,) = site.backends["smtp"].connections
    assert connection.received == b"EHLO mail.example.com\r\nnoop\r\nQUIT\r\n"
    logged = f'client logged in, client: 127.0.0.1, server: 0.0.0.0:{port}, login: "joe"'
    wait_for("log line", lambda: logged in site.log())


def test_pop3_capabilities(site: Site) -> None:
    client = poplib.POP3("127.0.0.1", 110, timeout=PATIENCE)
    assert client.capa() == {
        "LAST": [], "TOP": [], "USER": [], "PIPELINING": [], "UIDL": [],
        "SASL": ["PLAIN", "LOGIN", "CRAM-MD5"],
    }  # fmt: skip
    client.quit()


@pytest.mark.parametrize("method", ["plain", "apop"])
def test_pop3_login(site: Site, method: str) -> None:
    site.backends["pop3"].script(["+OK b", "+OK", "+OK joe is in", "+OK 3 4", "+OK bye"])
    client = poplib.POP3("127.0.0.1", 110, timeout=PATIENCE)
    if method == "apop":
        said = client.apop("joe", PASSWORD)
    else:
        client.user("joe")
        said = client.pass_(PASSWORD)
    assert said == b"+OK joe is in"
    assert site.requests[-1].headers["auth-method"] == method
    assert client.stat() == (3, 4)
    client.quit()


def test_pop3_passes_error_messages(site: Site) -> None:
    site.backends["pop3"].script(["+OK b", "+OK", "-ERR [IN-USE] locked"])
    client = poplib.POP3("127.0.0.1", 110, timeout=PATIENCE)
    client.user("joe")
    with pytest.raises(poplib.error_proto, match=r"-ERR \[IN-USE\] locked"):
        client.pass_(PASSWORD)
    client.close()


def test_imap_capabilities_and_login(site: Site) -> None:
    site.backends["imap"].script(["* OK b", "a OK joe is in", "b OK noop"])
    with Client(143) as client:
        assert client.lines(1) == b"* OK IMAP4 ready\r\n"
        client.send("c CAPABILITY")
        capabilities = b"* CAPABILITY IMAP4rev1 UIDPLUS IDLE LITERAL+ QUOTA AUTH=PLAIN\r\n"
        assert client.lines(2) == capabilities + b"c OK completed\r\n"
        client.send(f'a LOGIN joe "{PASSWORD}"')
        assert client.lines(1) == b"a OK joe is in\r\n"
        client.send("b NOOP")
        assert client.lines(1) == b"b OK noop\r\n"


def test_imap_passes_no_error_messages(site: Site) -> None:
    site.backends["imap"].script(["* OK b", "a NO [UNAVAILABLE] later"])
    with Client(143) as client:
        client.lines(1)
        client.send(f'a LOGIN joe "{PASSWORD}"')
        assert client.rest() == (
            b"a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error\r\n"
        )
        assert client.closed


def test_processes(site: Site, proxy_kind: str) -> None:
    def all_serve() -> bool:
        return len(site.workers()) == os.cpu_count() and all(map(serving, site.workers()))

    wait_for("the workers", all_serve)
    workers = site.workers()
    assert all(Path(f"/proc/{worker}").stat().st_uid != 0 for worker in workers)


def test_configuration_test_accepts_it(site: Site, proxy_kind: str) -> None:
    done = subprocess.run(
        [*site.command(proxy_kind), "-t"], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT,
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"the configuration file {site.configuration} syntax is ok" in done.stderr
    assert f"configuration file {site.configuration} test is successful" in done.stderr
