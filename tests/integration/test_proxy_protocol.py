"""PROXY headers for real backends: Dovecot and Postfix learn who the client is (``proxy_protocol``)."""

import contextlib
import imaplib
import poplib
import re
import smtplib
import socket
from collections.abc import Iterator

import pytest
from support import ports
from support.authserver import AuthServer, Request, answer
from support.dovecot import PASSWORD, Dovecot
from support.listener import Moves
from support.mailhouse import CLIENT
from support.postfix import DOMAIN, Postfix
from support.processes import wait_for
from support.proxy import Proxy
from support.script import Client

USER = "alice"


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot([USER]) as dovecot:
        yield dovecot


@pytest.fixture(scope="module")
def postfix(dovecot: Dovecot) -> Iterator[Postfix]:
    with Postfix(dovecot, [USER]) as postfix:
        yield postfix


@pytest.fixture(scope="module", params=["on", "v2"])
def doors(request: pytest.FixtureRequest, dovecot: Dovecot, postfix: Postfix) -> Iterator[dict[str, int]]:
    """Ports of fastmail, by protocol; those with ``-told`` are themselves told by a proxy in front."""
    backends = {
        "imap": dovecot.imap_proxied,
        "pop3": dovecot.pop3_proxied,
        "smtp": postfix.incoming_proxied,
    }

    def judge(request: Request) -> Moves:
        return (answer("OK", port=backends[request.headers["auth-protocol"]]),)

    doors = {name: ports.reserve() for protocol in backends for name in (protocol, f"{protocol}-told")}
    servers = ""
    for name, port in doors.items():
        protocol, _, told = name.partition("-")
        believed = "proxy_protocol; set_real_ip_from 127.0.0.1" if told else ""
        servers += f"server {{ listen 127.0.0.1:{port} {believed}; protocol {protocol}; }}\n"
    with AuthServer(judge) as auth:
        mail = f"auth_http 127.0.0.1:{auth.port}/; proxy_protocol {request.param};\n"
        mail += "smtp_auth none; xclient off;\n"
        with Proxy("fastmail", mail + servers, list(doors.values())):
            yield doors


@contextlib.contextmanager
def known(dovecot: Dovecot, protocol: str, address: str = CLIENT) -> Iterator[None]:
    """Dovecot logs the login that is made meanwhile with the client's own address."""
    since = len(dovecot.log())
    yield
    line = f"{protocol}-login: Info: (Login|Logged in): user=<{USER}>.* rip={re.escape(address)},"
    wait_for("Dovecot's log", lambda: re.search(line, dovecot.log()[since:]))


@pytest.mark.directive("proxy_protocol")
def test_imap(doors: dict[str, int], dovecot: Dovecot) -> None:
    class IMAP4(imaplib.IMAP4):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            return socket.create_connection((self.host, self.port), 20, source_address=(CLIENT, 0))

    with known(dovecot, "imap"), IMAP4("127.0.0.1", doors["imap"]) as client:
        client.login(USER, PASSWORD)
        assert client.select()[0] == "OK"


def test_pop3(doors: dict[str, int], dovecot: Dovecot) -> None:
    class POP3(poplib.POP3):
        def _create_socket(self, timeout: float) -> socket.socket:
            return socket.create_connection((self.host, self.port), 20, source_address=(CLIENT, 0))

    with known(dovecot, "pop3"):
        client = POP3("127.0.0.1", doors["pop3"])
        client.user(USER)
        client.pass_(PASSWORD)
        client.stat()
        client.quit()


def test_smtp(doors: dict[str, int], dovecot: Dovecot) -> None:
    before = len(dovecot.messages(USER))
    with smtplib.SMTP("127.0.0.1", doors["smtp"], "client.example", 20, source_address=(CLIENT, 0)) as client:
        client.sendmail("a@b.example", [f"{USER}@{DOMAIN}"], "Subject: x\r\n\r\nhello\r\n")
    wait_for("delivery", lambda: len(dovecot.messages(USER)) == before + 1)
    assert all(f"[{CLIENT}]".encode() in message for message in dovecot.messages(USER))


IPV6 = "2001:db8::1"


def ipv6_client(port: int) -> Client:
    """A client of an IPv6 proxy in front, which comes over IPv4."""
    client = Client(port)
    client.send(f"PROXY TCP6 {IPV6} 2001:db8::2 1111 143")
    return client


def test_ipv6_client_over_ipv4(doors: dict[str, int], dovecot: Dovecot, postfix: Postfix) -> None:
    """The header names one family: with two, Dovecot and Postfix would not take it."""
    with known(dovecot, "imap", IPV6), ipv6_client(doors["imap-told"]) as client:
        client.lines(1)
        client.send(f'a LOGIN {USER} "{PASSWORD}"')
        assert client.lines(1).startswith(b"a OK ")
    with known(dovecot, "pop3", IPV6), ipv6_client(doors["pop3-told"]) as client:
        client.send(f"USER {USER}\r\nPASS {PASSWORD}\r\nQUIT")
        assert client.lines(3).endswith(b"+OK Logged in.\r\n")
    with ipv6_client(doors["smtp-told"]) as client:
        client.lines(1)
        client.send(f"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<{USER}@{DOMAIN}>")
        assert client.lines(3).splitlines()[-1].startswith(b"250 2.1.5")
    wait_for("Postfix's log", lambda: f"client=unknown[{IPV6}]" in postfix.log())
