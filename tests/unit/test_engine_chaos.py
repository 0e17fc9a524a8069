"""Peers that do anything at any time: the engine serves on, and gives everything back."""

import contextlib
import random
import threading
from collections.abc import Callable

import pytest
from support.engine import Peer, Port, Rig, until

from fastmail._speedups import SharedCache

SESSIONS = 150
MOST_SESSIONS = 5 * SESSIONS  # where peers lose patience before a login is done
GREETINGS = {"imap": b"* OK [CAPABILITY LITERAL+] hi\r\n", "pop3": b"+OK hi\r\n", "smtp": b"220 hi\r\n"}
REPLIES = {
    "imap": b"* x\r\na OK in\r\n",
    "pop3": b"+OK\r\n+OK\r\n",
    "smtp": b"250-a\r\n250 PIPELINING\r\n" * 5,
}
SAYS = {
    "imap": b"a NOOP\r\na LOGIN {4}\r\nuser {4+}\r\npass\r\nb SELECT x\r\n",
    "pop3": b"NOOP\r\nUSER user\r\nPASS pass\r\nSTAT\r\n",
    "smtp": b"EHLO c\r\nAUTH PLAIN\r\nAHVzZXIAcGFzcw==\r\nMAIL FROM:<a>\r\n",
}


def misbehave(peer: Peer, choose: random.Random, script: bytes) -> None:
    """Send the script in pieces, spoilt or cut short, read or do not, and leave one way or another."""
    fate = choose.random()
    with contextlib.suppress(OSError, EOFError):
        if fate < 0.1:
            script = choose.randbytes(choose.randrange(8000))
        elif fate < 0.3:
            script = script[: choose.randrange(len(script) + 1)]
        elif fate < 0.4:
            script += b"x" * choose.choice((1, 70_000, 700_000))
        while script:
            size = choose.choice((1, 3, 10, 1000, len(script)))
            peer.send(script[:size])
            script = script[size:]
        peer.socket.settimeout(0.02)
        while choose.random() < 0.8:
            peer.read(1)
        if choose.random() < 0.3:
            peer.shut()
            peer.rest()
    peer.close(reset=choose.random() < 0.4)


class Crowd(threading.Thread):
    """Accepts connections, each misbehaving on a thread of its own, until its port is closed."""

    def __init__(self, port: Port, seed: int, script: Callable[[random.Random], bytes]) -> None:
        super().__init__(daemon=True)
        self._port = port
        port.socket.settimeout(None)  # end() ends the wait
        self._choose = random.Random(seed)
        self._script = script
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            peer = self._port.accept()
            choose = random.Random(self._choose.random())
            job = threading.Thread(target=misbehave, args=(peer, choose, self._script(choose)), daemon=True)
            self._threads.append(job)
            job.start()

    def end(self) -> None:
        """Wake it with a connection of our own; it ends after serving that."""
        self._over.set()
        with contextlib.suppress(ConnectionError):  # it is served like any other
            self._port.connect().close()
        self.join()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("haste", [False, True])
@pytest.mark.parametrize(("keepalive", "cache"), [(0, None), (3, None), (3, 50)])
@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
def test_anything_at_any_time(protocol: str, keepalive: int, cache: int | None, haste: bool) -> None:
    """``cache``: how long answers are kept; ``haste``: proxy_preconnect and proxy_pipelining."""
    with Rig(
        protocol=protocol,
        auth_http_keepalive=keepalive,
        auth_http_cache=(SharedCache(bytearray(8192)), cache, cache) if cache else None,
        proxy_preconnect=haste,
        proxy_pipelining=haste,
        timeout=500,
        auth_http_timeout=200,
        proxy_timeout=400,
        engine={"worker_connections": 200},
    ) as rig:

        def answer(choose: random.Random) -> bytes:
            head = choose.choice(("HTTP/1.0 200 OK", "HTTP/1.1 200 OK"))
            headers = (
                "Content-Length: 0",
                "Content-Length: 3",
                "Connection: close",
                "Auth-Pass: x",
                "Auth-User: x",
            )
            lines = choose.sample(headers, 2)
            if choose.random() < 0.2:
                return f"{head}\r\nAuth-Status: no\r\n{lines[0]}\r\n\r\n".encode()
            return rig.accepting(*lines, head=head) + choose.choice((b"", b"abc"))

        crowds = [
            Crowd(rig.auth, 1, answer),
            Crowd(
                rig.backend,
                2,
                lambda choose: GREETINGS[protocol] + REPLIES[protocol] + choose.randbytes(9999),
            ),
        ]
        choose = random.Random(3)
        clients = []
        sessions = 0
        while sessions < SESSIONS or (sessions < MOST_SESSIONS and rig.stat("logins") == 0):
            sessions += 1
            script = SAYS[protocol] + bytes(choose.choice((0, 10, 300_000)))
            peer = rig.listener.connect()
            job = threading.Thread(target=misbehave, args=(peer, random.Random(choose.random()), script))
            clients.append(job)
            job.start()
            if len(clients) >= 20:
                clients.pop(0).join()
        for job in clients:
            job.join()
        until(lambda: rig.stat("accepted") == sessions)
        rig.quiet()
        for crowd in crowds:
            crowd.end()
        assert rig.stat("logins") > 0
        assert rig.connect().line().endswith(b" ready\r\n")
