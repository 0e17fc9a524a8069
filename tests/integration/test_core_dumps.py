"""What a core dump of a worker would have: no password, wherever a login stands."""

import mmap
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.authserver import AuthServer, Request, answer
from support.certificate import Certificate
from support.listener import Connection, Listener, Moves
from support.ports import HOST, reserve
from support.processes import wait_for
from support.proxy import Proxy

from fastmail.config.zone import Zone
from fastmail.server.zones import shared_memory

HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")


def areas(pid: int) -> Iterator[tuple[int, int, list[str]]]:
    """Begin, end and flags of what the process has mapped and can read."""
    at: tuple[int, int, str] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found := HEADER.fullmatch(line):
            at = int(found[1], 16), int(found[2], 16), found[3]
        elif line.startswith("VmFlags:") and at is not None and at[2].startswith("r"):
            yield at[0], at[1], line.split()[1:]


def found(pid: int, text: bytes) -> list[bool]:
    """Where the text is in the process's memory: whether a core dump leaves that out ("dd")."""
    hits = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, flags in areas(pid):
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except (OSError, ValueError, OverflowError):  # the kernel's own pages
                continue
            hits += ["dd" in flags] * data.count(text)
    return hits


class Silent(Listener):
    """A backend that does not even greet."""

    def serve(self, connection: Connection) -> None:
        connection.drain()


@pytest.mark.parametrize("secured", [False, True])
def test_passwords_are_left_out(secured: bool, tmp_path: Path) -> None:
    if "ASAN_OPTIONS" in os.environ:
        pytest.skip("the sanitizer watches malloc(), so the engine takes all memory from there")
    waiting = threading.Event()

    def judge(request: Request) -> Moves:
        if request.headers["auth-user"] == "waits":
            waiting.wait()
        return answer("OK", f"Auth-Pass: other-{request.headers['auth-pass']}", port=backend.port)

    with AuthServer(judge) as auth, Silent() as backend:
        port = reserve()
        certificate = Certificate(tmp_path)
        mail = (
            f"auth_http {HOST}:{auth.port}/auth;"
            f"ssl_certificate {certificate.path}; ssl_certificate_key {certificate.key};"
            f"server {{ listen {HOST}:{port} {'ssl' if secured else ''}; protocol imap; }}"
        )
        with Proxy("fastmail", mail, [port]) as proxy:
            said = {
                b"typed-so-far-": b"a LOGIN user typed-so-far-",
                b"asked-about-": b"a LOGIN waits asked-about-\r\n",
                b"other-for-the-backend-": b"a LOGIN user for-the-backend-\r\n",
            }
            clients = []
            context = ssl.create_default_context(cafile=certificate.path)
            for text in said.values():
                client = socket.create_connection((HOST, port))
                if secured:
                    client = context.wrap_socket(client, server_hostname="auth.test")
                client.recv(4096)
                client.sendall(text)
                clients.append(client)
            try:
                for text in said:
                    wait_for(f"{text!r} in memory", partial(found, proxy.worker, text))
                    assert all(found(proxy.worker, text))
            finally:
                waiting.set()
                for client in clients:
                    client.close()


def test_shared_memory_is_left_out() -> None:
    size = 53 * mmap.PAGESIZE
    with shared_memory(Zone("own", size)):
        flags = [flags for begin, end, flags in areas(os.getpid()) if end - begin == size and "sh" in flags]
        assert any("dd" in each for each in flags)
