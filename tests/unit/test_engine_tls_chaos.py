"""Handshakes that end anywhere, in every way: the engine serves on, and gives everything back.

FASTMAIL_HANDSHAKES says how many; ci/handshakes has 10,000 of them under the sanitizers.
"""

import contextlib
import math
import os
import random
import ssl
import threading
from pathlib import Path

import pytest
from support.engine import Peer, Rig, until
from support.pki import PKI

from fastmail._speedups import LISTEN_SSL, TLSContext, TLSSessionCache

HANDSHAKES = int(os.environ.get("FASTMAIL_HANDSHAKES", "300"))
AT_ONCE = 16
START = {"imap": b"a STARTTLS\r\n", "pop3": b"STLS\r\n", "smtp": b"STARTTLS\r\n"}
LOGIN = {"imap": b"a LOGIN user pass\r\n", "pop3": b"USER user\r\nPASS pass\r\n", "smtp": b"EHLO c\r\n"}
PATIENCE = 0.5


class Cut(Exception):
    """As many bytes have been sent as were to be."""


class Client:
    """TLS whose bytes on the wire are counted, spoilt and cut."""

    def __init__(
        self, peer: Peer, context: ssl.SSLContext, session: ssl.SSLSession | None, budget: int
    ) -> None:
        self.peer = peer
        self.budget = budget
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname="mail.test", session=session
        )

    def push(self, spoil: random.Random | None = None) -> None:
        data = bytearray(self.outgoing.read())
        if spoil is not None and data:
            data[spoil.randrange(len(data))] ^= 1 << spoil.randrange(8)
        sent = data[: self.budget]
        self.peer.send(bytes(sent))
        self.budget -= len(sent)
        if len(sent) < len(data):
            raise Cut

    def pull(self) -> None:
        data = self.peer.socket.recv(65536)
        if not data:
            raise EOFError
        self.incoming.write(data)

    def handshake(self, spoil: random.Random | None) -> None:
        while True:
            try:
                self.tls.do_handshake()
                self.push()
                return
            except ssl.SSLWantReadError:
                self.push(spoil)
                self.pull()

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.push()
        for _ in range(2):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.read(65536)
                return
            self.pull()


class Crowd:
    """Clients one after the other, each with a fate of its own."""

    def __init__(self, rig: Rig, protocol: str, starttls: bool, contexts: list[ssl.SSLContext]) -> None:
        self.rig, self.protocol, self.starttls, self.contexts = rig, protocol, starttls, contexts
        self.sessions: dict[int, ssl.SSLSession | None] = {}
        self.completed = 0

    def run(self, seed: int, count: int) -> None:
        choose = random.Random(seed)
        for _ in range(count):
            peer = self.rig.listener.connect()
            peer.socket.settimeout(PATIENCE)
            with contextlib.suppress(OSError, EOFError, ssl.SSLError, Cut, ValueError):
                self.live(peer, choose)
            peer.close(reset=choose.random() < 0.4)

    def live(self, peer: Peer, choose: random.Random) -> None:
        if self.starttls:
            peer.line()
            if self.protocol == "smtp":
                peer.send(b"EHLO c\r\n")
                peer.until(b"250 ")
                peer.line()
            peer.send(START[self.protocol] + choose.choice((b"", b"", b"NOOP\r\n")))
            peer.line()
        number = choose.randrange(len(self.contexts))
        session = self.sessions.get(number) if choose.random() < 0.5 else None
        budget = choose.choice((choose.randrange(700), 1 << 20, 1 << 20))
        client = Client(peer, self.contexts[number], session, budget)
        client.handshake(choose if choose.random() < 0.15 else None)
        self.completed += 1
        client.say(LOGIN[self.protocol])
        self.sessions[number] = client.tls.session
        fate = choose.random()
        if fate < 0.2:
            client.say(b"x" * choose.choice((1, 20_000)))
        elif fate < 0.4:
            peer.send(choose.randbytes(choose.randrange(1, 100)))  # no record
        elif fate < 0.5:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.tls.unwrap()
            client.push()
        elif fate < 0.6:
            peer.shut()
            client.pull()


@pytest.mark.parametrize("starttls", [False, True])
@pytest.mark.parametrize("protocol", list(START))
def test_handshakes_that_end_anywhere(tmp_path: Path, protocol: str, starttls: bool) -> None:
    pki = PKI(tmp_path / "pki")
    context = TLSContext()
    for files in (pki.ca.issue("other.test", names=["other.test"]), pki.server, pki.server_rsa):
        context.certificate(os.fsencode(files.certificate), os.fsencode(files.key))
    context.select_by_name()
    context.verify_client("optional", 1)
    context.client_certificate(os.fsencode(pki.ca.path))
    context.crl(os.fsencode(pki.crl))
    context.alpn(protocol.encode())
    context.session_id_context()
    if starttls:
        context.session_tickets(False)
        context.session_cache("shared")
        context.share_sessions(TLSSessionCache(bytearray(65536)))
    if protocol == "smtp":
        context.conf_commands([(b"Options", b"KTLS")], bytes)  # libssl has the descriptor itself
    contexts = []
    for own in (None, pki.client, pki.client_expired):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            made = ssl.create_default_context(cafile=pki.ca.path)
            made.minimum_version = made.maximum_version = version
            if own is not None:
                made.load_cert_chain(own.certificate, own.key)
            contexts.append(made)
    count = math.ceil(HANDSHAKES / (6 * AT_ONCE))
    with Rig(
        protocol=protocol, tls=context, starttls="on" if starttls else "off",
        flags=0 if starttls else LISTEN_SSL, timeout=1000, auth_http_timeout=100,
    ) as rig:  # fmt: skip
        before = rig.stat("connections")
        crowd = Crowd(rig, protocol, starttls, contexts)
        threads = [threading.Thread(target=crowd.run, args=(seed, count)) for seed in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: rig.stat("accepted") == count * AT_ONCE)
        rig.quiet()
        assert crowd.completed > 0
        stats = rig.engine.stats()
        assert (stats["connections"], stats["timers"]) == (before, 0)
