"""Limits as an operator sets them: from the configuration to what clients, backends and the log see."""

import pytest
from support.authserver import AuthServer, answer
from support.processes import Echo, Session, Site, imap
from support.script import Client


@pytest.mark.directive("max_commands")
def test_max_commands(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port, "max_commands 2;"))
    site.start()
    with Client(port) as client:
        client.send(b"a NOOP\r\nb NOOP\r\nc NOOP\r\n")
        told = b"* BYE too many commands, closing connection\r\n"
        assert client.rest().endswith(b"b OK completed\r\nc BAD invalid command\r\n" + told)
    site.wait_log(r"\[info\] .* client sent too many commands while in auth state, client: 127.0.0.1")


@pytest.mark.directive("max_auth_attempts")
@pytest.mark.parametrize("most", [1, 2])
def test_max_auth_attempts(site: Site, port: int, most: int) -> None:
    """The next attempt is answered on the same connection; the client learns of the end."""
    with AuthServer(lambda request: answer("no")) as auth:
        site.configure(imap(auth, port, f"max_auth_attempts {most};"))
        site.start()
        with Client(port) as client:
            client.send(b"a LOGIN u p\r\nb LOGIN u q\r\n")
            refused = b"a NO no\r\nb NO no\r\n" if most == 2 else b"a NO no\r\n"
            assert client.rest() == b"* OK IMAP4 ready\r\n" + refused + b"* BYE closing connection\r\n"
            assert client.closed


@pytest.mark.directive("proxy_bind")
def test_proxy_bind(site: Site, auth: AuthServer, port: int, backend: Echo) -> None:
    site.configure("proxy_bind 127.0.0.9;" + imap(auth, port, "proxy_bind 203.0.113.7 127.0.0.1;"))
    site.start()
    with Session(port) as session:
        session.exchange()
    site.wait_log(r"\[crit\] .* bind\(203\.0\.113\.7\) failed \(99: Cannot assign requested address\) while ")


@pytest.mark.directive("worker_shutdown_timeout")
def test_worker_shutdown_timeout(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(imap(auth, port), main="worker_shutdown_timeout 200ms;")
    site.start()
    with Session(port) as session:
        session.exchange()
        site.signal("quit")
        site.wait_log(r"\[info\] .* shutdown timeout while proxying, client: 127.0.0.1, .* login: ")
        assert session.ended()


@pytest.mark.directive("debug_connection")
@pytest.mark.parametrize("network", ["127.0.0.0/8", "localhost"])
def test_debug_connection(site: Site, auth: AuthServer, port: int, network: str) -> None:
    site.configure(imap(auth, port), log="error.log error")
    text = site.configuration.read_text()
    site.configuration.write_text(text.replace("events {", f"events {{ debug_connection {network};"))
    site.start()
    with Session(port):
        site.wait_log(r"\[info\] .* client logged in, client: 127.0.0.1")
