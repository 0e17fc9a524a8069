"""Listening sockets: unix sockets, IPv6, wildcards."""

import os
import signal
import socket
import stat

import pytest
from support.authserver import AuthServer
from support.ports import HOST
from support.processes import USER, Session, Site


def test_unix_socket(site: Site, auth: AuthServer) -> None:
    path = site.directory / "imap.sock"
    site.configure(
        f"auth_http 127.0.0.1:{auth.port}; server {{ listen unix:{path}; protocol imap; }}", main=USER
    )
    child = site.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    with Session(str(path)) as session:
        session.exchange()
        site.wait_log(f"client unix: connected to unix:{path}")
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(10) == 0
    assert not path.exists()


@pytest.mark.directive("listen")
def test_ipv6(site: Site, auth: AuthServer, port: int) -> None:
    listens = f"listen [::1]:{port}; listen 127.0.0.1:{port};"
    site.configure(f"auth_http 127.0.0.1:{auth.port}; server {{ {listens} protocol imap; }}")
    site.start()
    with socket.create_connection(("::1", port), 5) as client:
        assert client.recv(100) == b"* OK IMAP4 ready\r\n"
        site.wait_log(rf"client \[::1\]:\d+ connected to \[::1\]:{port}$")


def test_wildcard_and_a_single_address_of_one_port(site: Site, auth: AuthServer, port: int) -> None:
    wildcard = f"server {{ listen {port}; protocol imap; imap_capabilities WILD; }}"
    single = f"server {{ listen 127.0.0.2:{port} bind; protocol imap; imap_capabilities SINGLE; }}"
    site.configure(f"auth_http 127.0.0.1:{auth.port}; {wildcard} {single}")
    site.start()
    for address, word in ((HOST, b" WILD"), ("127.0.0.2", b" SINGLE")):
        with socket.create_connection((address, port), 5) as client, client.makefile("rb") as lines:
            lines.readline()
            client.sendall(b"a CAPABILITY\r\n")
            assert word in lines.readline()
    # nobody else gets in beside us
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.3", port))
