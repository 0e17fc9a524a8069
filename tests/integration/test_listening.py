"""Listening sockets: unix sockets, IPv6, wildcards."""

import ctypes
import os
import re
import signal
import socket
import stat
import subprocess
from contextlib import ExitStack
from functools import partial

import pytest
from support.authserver import AuthServer, Judge, answer
from support.listener import PATIENCE
from support.ports import HOST
from support.processes import USER, Session, Site, opened, wait_for

IPPROTO_MPTCP = 262
SO_PROTOCOL = 38  # <asm/socket.h>; Python 3.11 has no name for it


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
    with socket.create_connection(("::1", port), PATIENCE) as client:
        assert client.recv(100) == b"* OK IMAP4 ready\r\n"
        site.wait_log(rf"client \[::1\]:\d+ connected to \[::1\]:{port}$")


@pytest.mark.directive("listen")
@pytest.mark.parametrize("bind", ["", "bind"])
def test_wildcard_and_a_single_address_of_one_port(
    site: Site, auth: AuthServer, port: int, bind: str
) -> None:
    wildcard = f"server {{ listen {port}; protocol imap; imap_capabilities WILD; }}"
    single = f"server {{ listen 127.0.0.2:{port} {bind}; protocol imap; imap_capabilities SINGLE; }}"
    site.configure(f"auth_http 127.0.0.1:{auth.port}; {wildcard} {single}")
    site.start()
    for address, word in ((HOST, b" WILD"), ("127.0.0.2", b" SINGLE")):
        with socket.create_connection((address, port), PATIENCE) as client, client.makefile("rb") as lines:
            lines.readline()
            client.sendall(b"a CAPABILITY\r\n")
            assert word in lines.readline()
    # nobody else gets in beside us
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.3", port))


def refusing(text: str) -> Judge:
    return lambda _: (answer(text),)


@pytest.mark.parametrize("transport", ["engine", "aiohttp"])
def test_addresses_on_a_wildcards_socket(site: Site, port: int, transport: str) -> None:
    """One socket for all, as with nginx: an address that the host does not have (yet) is no obstacle. Each
    server is itself: its name, its auth server, its address in the log."""
    judges = {name: AuthServer(refusing(name)) for name in ("single", "wild", "away")}
    addresses = {"single": f"127.0.0.2:{port}", "away": f"203.0.113.9:{port}", "wild": f"*:{port}"}
    with ExitStack() as stack:
        servers = "".join(
            f"server {{ listen {address}; protocol imap; auth_http 127.0.0.1:{judges[name].port}; }}\n"
            for name, address in addresses.items()
        )
        for judge in judges.values():
            stack.enter_context(judge)
        site.configure(f"auth_http_transport {transport};\n{servers}", main=USER)
        site.start()
        assert len(inodes(port)) == 1
        for host, name, text in (("127.0.0.2", "single", "127.0.0.2"), ("127.0.0.3", "wild", "0.0.0.0")):
            with socket.create_connection((host, port), 10) as client:
                client.sendall(b"a LOGIN u p\r\n")
                assert (
                    client.makefile().read() == f"* OK IMAP4 ready\na NO {name}\n* BYE closing connection\n"
                )
            site.wait_log(rf'client login failed: "{name}" .*, server: {re.escape(text)}:{port}, ')


def listening(port: int) -> str:
    """What the kernel says of the sockets that listen on a port: queue, timers, memory."""
    return subprocess.run(
        ["ss", "-Htlnome", f"sport = :{port}"], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.directive("listen")
def test_socket_options_are_set_and_changed_by_a_reload(site: Site, auth: AuthServer, port: int) -> None:
    def configure(words: str) -> None:
        site.configure(
            f"auth_http 127.0.0.1:{auth.port}; server {{ listen 127.0.0.1:{port} {words}; protocol imap; }}"
        )

    configure("backlog=7 rcvbuf=16k sndbuf=24k")
    site.start()
    before = listening(port)
    inode = inodes(port)
    # the kernel doubles what it is asked for
    assert before.split()[2] == "7" and "rb32768" in before and "tb49152" in before
    with socket.create_connection((HOST, port), PATIENCE) as client:
        client.recv(100)
        configure("backlog=9 rcvbuf=32k sndbuf=24k so_keepalive=100:20:3")
        site.signal("reload")
        wait_for("the new backlog", lambda: listening(port).split()[2] == "9")
        wait_for("the new buffer", lambda: "rb65536" in listening(port))
    assert inodes(port) == inode
    wait_for("the probes", lambda: probes(port).startswith("timer:(keepalive,"))


def probes(port: int) -> str:
    """The timer of a new connection, from the proxy's side."""
    with socket.create_connection((HOST, port), PATIENCE) as client:
        client.recv(100)
        ends = f"sport = :{port} and dport = :{client.getsockname()[1]}"
        command = ["ss", "-Htno", "state", "established", ends]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return text.split()[-1]


def inodes(port: int) -> list[str]:
    """Of the sockets that listen on a port."""
    return re.findall(r"ino:(\d+)", listening(port))


@pytest.mark.directive("listen")
def test_ipv6_wildcard_that_takes_ipv4(site: Site, auth: AuthServer, port: int) -> None:
    site.configure(
        f"auth_http 127.0.0.1:{auth.port}; server {{ listen [::]:{port} ipv6only=off; protocol imap; }}"
    )
    site.start()
    with Session(port):
        site.wait_log(rf"client \[::ffff:127\.0\.0\.1\]:\d+ connected to \[::\]:{port}$")


def alone(port: int, old: list[str]) -> bool:
    now = inodes(port)
    return len(now) == 1 and now != old


@pytest.mark.directive("listen")
def test_multipath_comes_and_goes_with_a_reload(site: Site, auth: AuthServer, port: int) -> None:
    def configure(words: str) -> None:
        site.configure(
            f"auth_http 127.0.0.1:{auth.port}; server {{ listen 127.0.0.1:{port} {words}; protocol imap; }}"
        )

    def protocol() -> int:
        (inode,) = inodes(port)
        (fd,) = (fd for fd, name in opened(child.pid).items() if name == f"socket:[{inode}]")
        with taken(child.pid, fd) as sock:
            return sock.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL)

    configure("")
    child = site.start()
    old = inodes(port)
    for words, number in (("multipath", IPPROTO_MPTCP), ("", socket.IPPROTO_TCP)):
        configure(words)
        site.signal("reload")
        wait_for("the other socket alone", partial(alone, port, old))
        old = inodes(port)
        assert protocol() == number
        with Session(port) as session:
            session.exchange()


def taken(pid: int, fd: int) -> socket.socket:
    """A duplicate of another process's socket (pidfd_getfd, 438 on every architecture)."""
    process = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(438, process, fd, 0)
        assert copy >= 0, os.strerror(ctypes.get_errno())
        return socket.socket(fileno=copy)
    finally:
        os.close(process)
