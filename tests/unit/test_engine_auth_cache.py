"""Kept answers (auth_http_cache) in sessions: who is let in without the auth server, and when it is asked."""

import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from support.certificate import Certificate
from support.engine import BYE, INTERNAL, TIMEOUT, Peer, Rig, let_in, ready, suffix, until
from support.listener import PATIENCE

from fastmail._speedups import (
    EVENT_AUTH,
    EVENT_NAME,
    EVENT_NOT_ACCEPTING,
    LISTEN_PROXY_PROTOCOL,
    NAME_FOUND,
    SharedCache,
    TLSContext,
)

LOGIN = b"a LOGIN user pass\r\n"
NO = b"HTTP/1.0 200 OK\r\nAuth-Status: no\r\n\r\n"
REPLY = b"a NO no\r\n" + BYE
MONOTONIC_COARSE = 6  # clock_gettime(2); Python has no name for it


def keeping(valid: int = 60_000, invalid: int = 60_000, **options: Any) -> Rig:
    return Rig(auth_http_cache=(SharedCache(bytearray(65536)), valid, invalid), **options)


def refused(rig: Rig, said: bytes = LOGIN, answer: bytes = NO) -> None:
    """The auth server is asked, and refuses."""
    client, auth = rig.ask(said)
    auth.send(answer)
    assert client.rest() == REPLY


def served(rig: Rig, client: Peer, said: bytes = LOGIN) -> None:
    """A client is refused by what is kept."""
    client.send(said)
    assert client.rest() == REPLY
    assert not rig.auth.waiting()


def relayed_unasked(rig: Rig) -> Peer:
    """A client logs in at the backend; the auth server does not hear of it."""
    client = rig.client()
    client.send(LOGIN)
    backend = rig.connected()
    let_in(client, backend)
    assert not rig.auth.waiting()
    return client


def test_let_in_again() -> None:
    with keeping() as rig:
        rig.relay()
        for _ in range(3):
            relayed_unasked(rig)
        assert rig.stat("auth_requests") == 1
        assert rig.stat("relaying") == 4


def test_refused_again_with_the_same_log_line() -> None:
    with keeping() as rig:
        refused(rig)
        for _ in range(3):
            served(rig, rig.client())
        rig.quiet()
        why = 'client login failed: "no" while in http auth state'
        rig.all_logged(*[f"[info] {why}{suffix(upstream='')}"] * 4)


def test_a_kept_refusal_is_held_back_as_long() -> None:
    """The pause is served, and the session's next attempt is the second, which is asked about."""
    with keeping() as rig:
        slowly = NO.replace(b"no", b"no\r\nAuth-Wait: 1")
        for first in (True, False):
            client = rig.client()
            client.send(LOGIN + LOGIN)
            if first:
                rig.asked().send(slowly)
            assert client.line() == b"a NO no\r\n"
            auth = rig.asked()
            assert b"\r\nAuth-Login-Attempt: 2\r\n" in auth.request
            auth.send(NO)
            assert client.rest() == REPLY


def test_asked_to_wait_and_then_let_in() -> None:
    """What is kept is the last word."""
    with keeping() as rig:
        client, auth = rig.ask()
        auth.send(b"HTTP/1.0 200 OK\r\nAuth-Status: WAIT\r\nAuth-Wait: 1\r\n\r\n")
        auth = rig.asked()
        auth.send(NO)
        assert client.rest() == REPLY
        served(rig, rig.client())


def test_over_python() -> None:
    """The cache stands before aiohttp as well."""
    with keeping(auth_http_transport="aiohttp") as rig:
        client = rig.client()
        client.send(LOGIN)
        assert ready(rig.engine.event_fileno(), PATIENCE)
        ((kind, handle, _),) = rig.engine.events()
        assert kind == EVENT_AUTH
        rig.engine.auth_answered(handle, NO)
        assert client.rest() == REPLY
        served(rig, rig.client())
        assert rig.engine.events() == []


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\nAuth-St", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_no_answer_is_not_kept(answer: bytes) -> None:
    with keeping() as rig:
        for _ in range(2):
            client, auth = rig.ask()
            auth.send(answer)
            auth.close()
            assert client.rest() == INTERNAL


def test_a_draining_engine_uses_nothing_of_it() -> None:
    """A reload ends it for sessions, too, that have not logged in yet."""
    with keeping() as rig:
        refused(rig)
        first, second = rig.client(), rig.client()
        rig.engine.shutdown()
        until(lambda: any(kind == EVENT_NOT_ACCEPTING for kind, _, _ in rig.engine.events()))
        for client in (first, second):
            client.send(LOGIN)
            rig.asked().send(NO)
            assert client.rest() == REPLY


def test_answers_age_on_the_engines_clock() -> None:
    with keeping(invalid=1) as rig:
        refused(rig)
        kept = time.clock_gettime(MONOTONIC_COARSE)
        until(lambda: time.clock_gettime(MONOTONIC_COARSE) > kept + 0.001)
        refused(rig)


# --- backends --------------------------------------------------------------------------------------


def gone(backend: Peer) -> None:
    backend.close()


def reset(backend: Peer) -> None:
    backend.close(reset=True)


def refuses(backend: Peer) -> None:
    backend.send(b"* OK hi\r\n")
    backend.line()
    backend.send(b"a NO not you\r\n")


def talks_nonsense(backend: Peer) -> None:
    backend.send(b"500 what\r\n")


def stays_silent(backend: Peer) -> None:
    """Until the timeout."""


@pytest.mark.parametrize("fails", [gone, reset, refuses, talks_nonsense, stays_silent])
@pytest.mark.parametrize("kept", [True, False])
def test_after_a_failed_backend_login_the_auth_server_is_asked(fails: Any, kept: bool) -> None:
    """Whether the answer that led there was kept or fresh."""
    with keeping(timeout=TIMEOUT) as rig:
        if kept:
            rig.relay()
            client = rig.client()
            client.send(LOGIN)
            backend = rig.connected()
        else:
            client, backend = rig.backend_login()
        fails(backend)
        assert client.rest() == INTERNAL
        refused(rig)


def test_after_a_backend_that_cannot_be_reached_too() -> None:
    with keeping() as rig:
        rig.backend.refuse()
        client, auth = rig.ask()
        auth.send(rig.accepting())
        assert client.rest() == INTERNAL
        refused(rig)


# --- what differs in the request -------------------------------------------------------------------


def test_a18_clients_behind_a_proxy() -> None:
    """Each address is asked about; the port, another with every connection, makes no difference."""

    def client(rig: Rig, source: str, port: int) -> Peer:
        peer = rig.connect()
        peer.send(f"PROXY TCP4 {source} 192.0.2.9 {port} 143\r\n".encode())
        peer.line()
        return peer

    with keeping(flags=LISTEN_PROXY_PROTOCOL) as rig:
        for source in ("192.0.2.1", "192.0.2.2"):
            peer = client(rig, source, 1111)
            peer.send(LOGIN)
            auth = rig.asked()
            assert f"Proxy-Protocol-Addr: {source}\r\nProxy-Protocol-Port: 1111\r\n".encode() in auth.request
            auth.send(NO)
            assert peer.rest() == REPLY
            served(rig, client(rig, source, 2222))


def test_a18_clients_of_other_names() -> None:
    login = b"AUTH PLAIN AHVzZXIAcGFzcw==\r\n"

    def client(rig: Rig, name: bytes) -> Peer:
        peer = rig.connect()
        assert ready(rig.engine.event_fileno(), PATIENCE)
        ((kind, handle, _),) = rig.engine.events()
        assert kind == EVENT_NAME
        rig.engine.name_found(handle, NAME_FOUND, name)
        peer.line()
        peer.send(login)
        return peer

    with keeping(protocol="smtp", resolver_timeout=60_000) as rig:
        for name in (b"one.test", b"two.test"):
            peer = client(rig, name)
            auth = rig.asked()
            assert b"\r\nClient-Host: " + name + b"\r\n" in auth.request
            auth.send(NO)
            assert peer.rest() == b"535 5.7.0 no\r\n421 4.7.0 mail.test closing connection\r\n"
            assert client(rig, name).rest() == b"535 5.7.0 no\r\n421 4.7.0 mail.test closing connection\r\n"
            assert not rig.auth.waiting()


def test_a18_clients_with_and_without_tls(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    context = TLSContext()
    context.certificate(os.fsencode(certificate.path), os.fsencode(certificate.key))
    context.session_id_context()

    def client(rig: Rig, version: ssl.TLSVersion | None) -> Peer:
        peer = rig.client()
        if version is not None:
            peer.send(b"s STARTTLS\r\n")
            peer.line()
            ours = ssl.create_default_context(cafile=certificate.path)
            ours.minimum_version = ours.maximum_version = version
            peer.socket = ours.wrap_socket(peer.socket, server_hostname="auth.test")
        return peer

    with keeping(tls=context, starttls="on") as rig:
        for version in (None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            peer = client(rig, version)
            peer.send(LOGIN)
            rig.asked().send(NO)
            assert peer.rest() == REPLY
            served(rig, client(rig, version))
