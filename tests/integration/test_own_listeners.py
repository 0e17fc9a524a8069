"""An auth server that sends logins back to the proxy itself, or to another of its servers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.authserver import AuthServer, Request, answer
from support.listener import Moves
from support.ports import HOST, reserve
from support.processes import Echo, Session, Site
from support.script import Client

ITSELF = "upstream is this proxy itself while connecting to upstream"
ANOTHER = "upstream is another listener of this proxy while connecting to upstream"


def refused(site: Site, port: int, count: int = 1) -> None:
    """A client's login ends, and has not come back to us."""
    with Client(port) as client:
        client.send(b"a LOGIN user secret\r\n")
        assert client.rest().splitlines()[1].startswith(b"a NO ")
    line = site.wait_log(ITSELF, count=count)
    assert "[error]" in line
    assert ', login: "user", upstream: ' in line
    assert len([line for line in site.log() if " connected to " in line]) == count


LISTENS = {  # what it listens on, and what the auth server says; PORT in both
    "its address": ("127.0.0.1:PORT", "127.0.0.1"),
    "the wildcard": ("PORT", "127.0.0.1"),
    "another address of the wildcard's": ("PORT", "127.0.0.5"),
    "no address": ("PORT", "0.0.0.0"),
    "an address beside the wildcard": ("PORT; listen 127.0.0.1:PORT", "127.0.0.1"),
    "IPv6 and IPv4": ("[::]:PORT ipv6only=off", "127.0.0.1"),
}


@pytest.mark.parametrize("case", LISTENS)
def test_backend_that_is_the_listener_itself(site: Site, port: int, case: str) -> None:
    listens, server = LISTENS[case]
    with AuthServer(lambda _: (answer("OK", server=server, port=port),)) as auth:
        listen = listens.replace("PORT", str(port))
        site.configure(
            f"auth_http {HOST}:{auth.port}; server {{ listen {listen}; protocol imap; }}", workers=2
        )
        site.start()
        refused(site, port)
        refused(site, port, count=2)
        site.reload(2)
        refused(site, port, count=3)


def test_backend_that_is_another_listener(site: Site, port: int, backend: Echo) -> None:
    """One server in front of another: it works, with one warning in the log of each worker."""
    inner = reserve()

    def judge(request: Request) -> Moves:
        return (answer("OK", port=inner if b"/outer" in request.raw else backend.port),)

    with AuthServer(judge) as auth:
        servers = "".join(
            f"server {{ listen {HOST}:{number}; protocol imap; auth_http {HOST}:{auth.port}/{name}; }}\n"
            for name, number in (("outer", port), ("inner", inner))
        )
        site.configure(servers)
        site.start()
        for _ in range(3):
            with Session(port) as session:
                session.exchange()
        site.wait_log(rf"\[warn\] .* {ANOTHER}, client: .*, upstream: {HOST}:{inner}")
        assert len(re.findall(ANOTHER, "\n".join(site.log()))) == 1


def test_same_port_of_another_machine() -> None:
    """In a network of its own: see own_address.py."""
    script = Path(__file__).parent.parent / "support" / "own_address.py"
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
