"""Backend logins in fewer round trips, as a configuration asks for them or a backend offers them."""

import pytest
from support.authserver import AuthServer, Request, answer
from support.dovecot import PASSWORD, Dovecot
from support.listener import Connection, Listener, Moves
from support.processes import Echo, Session, Site, imap, wait_for
from support.script import Client


class Impatient(Listener):
    """A POP3 backend that says nothing to USER before it has PASS."""

    def serve(self, connection: Connection) -> None:
        connection.perform("+OK hi")
        connection.read_until(b"USER joe\r\nPASS secret\r\n")
        connection.perform(b"+OK\r\n+OK in\r\n")
        connection.drain()


@pytest.mark.directive("proxy_pipelining")
def test_proxy_pipelining(site: Site, port: int) -> None:
    with Impatient() as backend, AuthServer(lambda _: answer("OK", port=backend.port)) as auth:
        site.configure(imap(auth, port, "proxy_pipelining on;").replace("protocol imap", "protocol pop3"))
        site.start()
        with Client(port) as client:
            client.send(b"USER joe\r\nPASS secret\r\n")
            assert client.lines(3) == b"+OK POP3 ready\r\n+OK\r\n+OK in\r\n"


@pytest.mark.directive("proxy_pipelining")
def test_dovecot_takes_user_and_pass_at_once(site: Site, port: int) -> None:
    with Dovecot(["joe"]) as dovecot, AuthServer(lambda _: answer("OK", port=dovecot.pop3)) as auth:
        site.configure(imap(auth, port, "proxy_pipelining on;").replace("protocol imap", "protocol pop3"))
        site.start()
        with Client(port) as client:
            client.send(f"USER joe\r\nPASS {PASSWORD}\r\nSTAT\r\n".encode())
            assert client.lines(4) == b"+OK POP3 ready\r\n+OK\r\n+OK Logged in.\r\n+OK 0 0\r\n"


def test_dovecot_takes_literals_without_waiting(site: Site, port: int) -> None:
    """Dovecot announces LITERAL+ in its greeting; a password that is not ASCII cannot go in one line."""
    with Dovecot(["joe"]) as dovecot, AuthServer(lambda _: answer("OK", port=dovecot.imap)) as auth:
        site.configure(imap(auth, port, "proxy_pass_error_message on;"))
        site.start()
        with Client(port) as client:
            client.send(b"a LOGIN joe {5+}\r\np\xe4ss!\r\n")
            assert client.rest().startswith(b"* OK IMAP4 ready\r\na NO [AUTHENTICATIONFAILED]")
        site.wait_log(r'upstream sent invalid response: "NO \[AUTHENTICATIONFAILED\]')


class Waiting:
    """An auth server that answers the second login only after the backend has seen its connection."""

    def __init__(self, backend: Echo) -> None:
        self.backend = backend
        self.logins = 0

    def __call__(self, request: Request) -> Moves:
        self.logins += 1
        if self.logins == 2:
            wait_for("the connection to the backend", lambda: len(self.backend.connections) == 2)
        return answer("OK", port=self.backend.port)


@pytest.mark.directive("proxy_preconnect")
def test_proxy_preconnect(site: Site, port: int, backend: Echo) -> None:
    with AuthServer(Waiting(backend)) as auth:
        site.configure(imap(auth, port, "proxy_preconnect on;"))
        site.start()
        for _ in range(2):
            with Session(port) as session:
                session.exchange()
