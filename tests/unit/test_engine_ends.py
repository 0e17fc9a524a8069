"""Why a session ended: every phase × what can end it there, and the line that says so.

Where a line of nginx's names the cause at its level, it is the only one; elsewhere ours is added.
"""

import os
import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from support.certificate import Certificate
from support.engine import TIMEOUT, Peer, Rig, suffix, until

from fastmail._speedups import LISTEN_PROXY_PROTOCOL, LISTEN_SSL, TLSContext

LOGIN = b"a LOGIN user pass\r\n"
RESET = "(104: Connection reset by peer)"
TIMED_OUT = "(110: Connection timed out)"

Options = Mapping[str, Any]
NONE: Options = MappingProxyType({})
PASS_ON = {"proxy_pass_error_message": True}
SMTP = {"protocol": "smtp"}
POP3 = {"protocol": "pop3"}


class Phase(NamedTuple):
    """``reach`` brings a session there and returns the client, and the peer that it waits for; ``state`` and
    ``known`` are what log lines have after the message."""

    state: str
    reach: Callable[[Rig], tuple[Peer, Peer]]
    known: str = suffix("", "")
    options: Options = NONE


def connected(rig: Rig) -> tuple[Peer, Peer]:
    client = rig.connect()
    until(lambda: rig.stat("accepted") == 1)
    return client, client


def greeted(rig: Rig, *said: str) -> tuple[Peer, Peer]:
    """Each line is answered with one line."""
    client = rig.client()
    for line in said:
        client.send(f"{line}\r\n".encode())
        client.line()
    return client, client


def said(*lines: str) -> Callable[[Rig], tuple[Peer, Peer]]:
    return lambda rig: greeted(rig, *lines)


def undecodable(rig: Rig) -> tuple[Peer, Peer]:
    client, _ = greeted(rig, "AUTH PLAIN !")
    until(lambda: bool(rig.log()))
    return client, client


def asked(rig: Rig) -> tuple[Peer, Peer]:
    return rig.ask()


def asked_smtp(rig: Rig) -> tuple[Peer, Peer]:
    return rig.ask(b"AUTH PLAIN AHVzZXIAcGFzcw==\r\n")


def half_answered(rig: Rig) -> tuple[Peer, Peer]:
    client, auth = rig.ask()
    auth.send(b"HTTP/1.0 200 OK\r\nAuth-St")
    return client, auth


def paused(rig: Rig) -> tuple[Peer, Peer]:
    """The refusal is held back."""
    client, auth = rig.ask()
    auth.send(b"Auth-Status: no\r\nAuth-Wait: 86400\r\n\r\n")
    assert auth.rest() == b""
    until(lambda: bool(rig.log()))
    return client, client


def accepted(rig: Rig) -> tuple[Peer, Peer]:
    return rig.backend_login()


def accepted_smtp(rig: Rig) -> tuple[Peer, Peer]:
    return rig.backend_login(b"AUTH PLAIN AHVzZXIAcGFzcw==\r\n")


def logging_in(rig: Rig) -> tuple[Peer, Peer]:
    client, backend = rig.backend_login()
    backend.send(b"* OK hi\r\n")
    backend.line()
    return client, backend


def introduced(rig: Rig) -> tuple[Peer, Peer]:
    client, backend = accepted_smtp(rig)
    backend.send(b"220 hi\r\n")
    backend.line()
    return client, backend


def asked_again(rig: Rig) -> tuple[Peer, Peer]:
    client, auth = rig.ask()
    auth.send(b"Auth-Status: WAIT\r\nAuth-Wait: 86400\r\n\r\n")
    assert auth.rest() == b""
    return client, client


def nobody_to_ask(rig: Rig) -> tuple[Peer, Peer]:
    rig.auth.refuse()
    client = rig.client()
    return client, client


def accepted_pop3(rig: Rig) -> tuple[Peer, Peer]:
    client, _ = greeted(rig, "USER user")
    client.send(b"PASS pass\r\n")
    rig.asked().send(rig.accepting())
    return client, rig.connected()


def about_to_be_refused(rig: Rig) -> tuple[Peer, Peer]:
    """By a backend that does not listen."""
    rig.backend.refuse()
    return rig.ask()


def unreachable(rig: Rig) -> tuple[Peer, Peer]:
    """The backend's queue is full: the kernel drops SYNs."""
    rig.backend.socket.listen(0)
    for _ in range(3):
        full = socket.socket()
        full.setblocking(False)
        full.connect_ex(rig.backend.address[1])
        rig.keep(Peer(full))
    client, auth = rig.ask()
    auth.send(rig.accepting())
    auth.rest()
    return client, client


STARTTLS = suffix("", "").replace(", server", " using starttls, server")
ASKED = suffix(upstream="")
LOGGING_IN = "sending LOGIN command to upstream"

PHASES = {
    "PROXY header": Phase("reading PROXY protocol", connected, options={"flags": LISTEN_PROXY_PROTOCOL}),
    "handshake": Phase("SSL handshaking", connected, options={"flags": LISTEN_SSL, "tls": True}),
    "starttls": Phase(
        "in starttls state", said("a STARTTLS"), STARTTLS, options={"starttls": "on", "tls": True}
    ),
    "delay": Phase("in delay pipelining state", connected, options=SMTP | {"smtp_greeting_delay": 60_000}),
    "name": Phase("in resolving client address", connected, options=SMTP | {"resolver_timeout": 60_000}),
    "commands": Phase("in auth state", said()),
    "pop3 commands": Phase("in auth state", said(), options=POP3),
    "smtp commands": Phase("in auth state", said(), options=SMTP),
    "a bad command": Phase("in auth state", said("GET / HTTP/1.0"), options=POP3),
    "a challenge": Phase("in auth state", said("a AUTHENTICATE PLAIN")),
    "a literal": Phase("in auth state", said("a LOGIN {4}")),
    "a user name": Phase("in auth state", said("USER u"), suffix("u", ""), POP3),
    "bad base64": Phase("in auth state", undecodable, options=SMTP),
    "bad mechanism": Phase("in auth state", said("AUTH DIGEST-MD5"), options=SMTP),
    "starttls only": Phase("in auth state", said("a LOGIN u p"), options={"starttls": "only", "tls": True}),
    "starttls only pop3": Phase(
        "in auth state", said("USER u"), options=POP3 | {"starttls": "only", "tls": True}
    ),
    "starttls only smtp": Phase(
        "in auth state", said("AUTH PLAIN"), options=SMTP | {"starttls": "only", "tls": True}
    ),
    "auth server": Phase("in http auth state", asked, ASKED),
    "half an answer": Phase("in http auth state", half_answered, ASKED),
    "auth server of smtp": Phase("in http auth state", asked_smtp, ASKED, SMTP),
    "pause": Phase("in http auth state", paused, ASKED),
    "pause, interrupted": Phase("in auth state", paused, ASKED),
    "pause before asking again": Phase("in http auth state", asked_again, ASKED),
    "no auth server": Phase("in http auth state", nobody_to_ask, ASKED),
    "no backend listens": Phase("reading response from upstream", about_to_be_refused, suffix()),
    "pop3 backend": Phase("reading response from upstream", accepted_pop3, suffix(), POP3),
    "passed on": Phase("reading response from upstream", accepted_smtp, suffix(), {**SMTP, **PASS_ON}),
    "login, passed on": Phase("reading response from upstream", logging_in, suffix(), PASS_ON),
    "no backend": Phase("connecting to upstream", unreachable, suffix()),
    "backend": Phase("connecting to upstream", accepted, suffix()),
    "greeting": Phase("reading response from upstream", accepted, suffix()),
    "login": Phase(LOGGING_IN, logging_in, suffix()),
    "login reply": Phase("reading response from upstream", logging_in, suffix()),
    "xclient": Phase("reading response from upstream", introduced, suffix(), SMTP),
}


def fin(rig: Rig, peer: Peer) -> None:
    peer.close()


def rst(rig: Rig, peer: Peer) -> None:
    peer.close(reset=True)


def timeout(rig: Rig, peer: Peer) -> None:
    """A limit passes: those of all phases are set."""


def stop(rig: Rig, peer: Peer) -> None:
    rig.engine.stop()
    rig.ended()


def accept(rig: Rig, peer: Peer) -> None:
    peer.send(rig.accepting())


def says(text: str) -> Callable[[Rig, Peer], None]:
    return lambda rig, peer: peer.send(text.encode("latin-1"))


Row = tuple[str, Callable[[Rig, Peer], None], str, str]

ROWS: list[Row] = [
    # phase, what ends it, our line, nginx's
    ("PROXY header", fin, "[info] client closed connection (no_auth_attempts)", ""),
    ("PROXY header", rst, "", f"[info] recv() failed {RESET}"),
    ("PROXY header", timeout, "", f"[info] client timed out {TIMED_OUT}"),
    ("PROXY header", says("hello\r\n"), "", '[error] broken header: "hello"'),
    ("PROXY header", stop, "[info] proxy shut down (shutting_down)", ""),
    ("handshake", fin, "", "[info] peer closed connection in SSL handshake"),
    ("handshake", timeout, "[info] client timed out (tls_handshake_not_finished)", ""),
    ("handshake", stop, "[info] proxy shut down (shutting_down)", ""),
    ("starttls", fin, "", "[info] peer closed connection in SSL handshake"),
    ("starttls", timeout, "[info] client timed out (tls_handshake_not_finished)", ""),
    ("delay", fin, "[info] client closed connection (no_auth_attempts)", ""),
    ("delay", rst, "", f"[info] recv() failed {RESET}"),
    ("delay", says("EHLO"), "", '[info] client was rejected before greeting: "EHLO"'),
    ("delay", stop, "[info] proxy shut down (shutting_down)", ""),
    ("name", rst, "[info] client connection failed (no_auth_attempts)", ""),
    ("name", stop, "[info] proxy shut down (shutting_down)", ""),
    ("commands", fin, "[info] client closed connection (no_auth_attempts)", ""),
    ("commands", rst, "", f"[info] recv() failed {RESET}"),
    ("commands", timeout, "", f"[info] client timed out {TIMED_OUT}"),
    ("commands", stop, "[info] proxy shut down (shutting_down)", ""),
    ("commands", says("a LOGOUT\r\n"), "[info] client logged out (no_auth_attempts)", ""),
    ("commands", says("\n" * 5), "", "[info] client sent too many invalid commands"),
    ("commands", says("a NOOP\r\n" * 1001), "", "[info] client sent too many commands"),
    ("commands", says("a" * 4096), "", '[info] client sent too long command ""'),
    ("pop3 commands", fin, "[info] client closed connection (no_auth_attempts)", ""),
    ("pop3 commands", says("QUIT\r\n"), "[info] client logged out (no_auth_attempts)", ""),
    ("smtp commands", fin, "[info] client closed connection (no_auth_attempts)", ""),
    ("smtp commands", says("QUIT\r\n"), "[info] client logged out (no_auth_attempts)", ""),
    ("a bad command", fin, "[info] client closed connection (no_auth_attempts)", ""),
    ("a challenge", fin, "[info] client closed connection (auth_waiting_client)", ""),
    ("a literal", fin, "[info] client closed connection (auth_waiting_client)", ""),
    ("a user name", fin, "[info] client closed connection (auth_waiting_client)", ""),
    ("bad mechanism", fin, "[info] client closed connection (invalid_mech)", ""),
    ("starttls only", fin, "[info] client closed connection (cleartext_auth_disabled)", ""),
    ("starttls only", says("b LOGOUT\r\n"), "[info] client logged out (cleartext_auth_disabled)", ""),
    ("starttls only pop3", fin, "[info] client closed connection (cleartext_auth_disabled)", ""),
    ("starttls only smtp", fin, "[info] client closed connection (cleartext_auth_disabled)", ""),
    ("auth server", fin, "[error] auth http server AUTH closed connection (auth_server_failed)", ""),
    (
        "auth server", rst,
        "[error] auth http server AUTH connection failed (auth_server_failed)",
        f"[error] recv() failed {RESET}",
    ),
    ("auth server", timeout, "", f"[error] auth http server AUTH timed out {TIMED_OUT}"),
    ("auth server", stop, "[info] proxy shut down (shutting_down)", ""),
    ("auth server", says("?"), "", "[error] auth http server AUTH sent invalid header in response"),
    ("auth server", says("Auth-Status: no\r\n\r\n"), "", '[info] client login failed: "no"'),
    ("half an answer", fin, "[error] auth http server AUTH closed connection (auth_server_failed)", ""),
    (
        "auth server of smtp", says("Auth-Status: later\r\nAuth-Error-Code: 451 4.3.0\r\n\r\n"),
        "", '[info] client login failed: "later"',
    ),
    ("bad base64", fin, "[info] client closed connection (invalid_base64)", ""),
    ("pause, interrupted", rst, "", f"[info] send() failed {RESET}"),
    ("pause", stop, "[info] proxy shut down (shutting_down)", ""),
    ("pause before asking again", stop, "[info] proxy shut down (shutting_down)", ""),
    (
        "no auth server", says("a LOGIN user pass\r\n"),
        "[error] auth http server AUTH connection failed (auth_server_failed)",
        "[error] recv() failed (111: Connection refused)",
    ),
    ("no backend listens", accept, "", "[error] recv() failed (111: Connection refused)"),
    ("pop3 backend", fin, "[error] upstream closed connection (proxy_dest_connect_failed)", ""),
    ("pop3 backend", says("-ERR no\r\n"), "", '[error] upstream sent invalid response: "-ERR no"'),
    ("passed on", says("554 no\r\n"), "", '[error] upstream sent invalid response: "554 no"'),
    ("login, passed on", says("a NO x\r\n"), "", '[info] upstream sent invalid response: "NO x"'),
    ("xclient", fin, "[error] upstream closed connection (proxy_dest_protocol_failure)", ""),
    ("xclient", rst, "", f"[error] recv() failed {RESET}"),
    ("xclient", says("550 no\r\n"), "", '[error] upstream sent invalid response: "550 no"'),
    ("no backend", timeout, "[error] upstream timed out (proxy_dest_connect_failed)",
     f"[info] upstream timed out {TIMED_OUT}"),
    ("backend", timeout, "[error] upstream timed out (proxy_dest_connect_failed)",
     f"[info] upstream timed out {TIMED_OUT}"),
    ("backend", stop, "[info] proxy shut down (shutting_down)", ""),
    ("greeting", fin, "[error] upstream closed connection (proxy_dest_connect_failed)", ""),
    ("greeting", rst, "", f"[error] recv() failed {RESET}"),
    ("greeting", says("* BYE\r\n"), "", '[error] upstream sent invalid response: "* BYE"'),
    ("login", timeout, "[error] upstream timed out (proxy_dest_protocol_failure)",
     f"[info] upstream timed out {TIMED_OUT}"),
    ("login", stop, "[info] proxy shut down (shutting_down)", ""),
    ("login reply", fin, "[error] upstream closed connection (proxy_dest_protocol_failure)", ""),
    ("login reply", rst, "", f"[error] recv() failed {RESET}"),
    ("login reply", says("a NO x\r\n"), "", '[error] upstream sent invalid response: "NO x"'),
]  # fmt: skip


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


def with_certificate(options: Options, certificate: Certificate) -> Options:
    if "tls" not in options:
        return options
    context = TLSContext()
    context.certificate(os.fsencode(certificate.path), os.fsencode(certificate.key))
    return {**options, "tls": context}


@pytest.mark.parametrize(
    ("name", "end", "ours", "theirs"), ROWS, ids=lambda part: getattr(part, "__name__", str(part)[:40])
)
def test_end(
    name: str, end: Callable[[Rig, Peer], None], ours: str, theirs: str, certificate: Certificate
) -> None:
    phase = PHASES[name]
    limits: Options = {"timeout": TIMEOUT, "auth_http_timeout": TIMEOUT} if end is timeout else NONE
    with Rig(**with_certificate(phase.options, certificate), **limits) as rig:
        _, peer = phase.reach(rig)
        before = rig.log()
        end(rig, peer)
        if end is not stop:
            rig.quiet()
        expected = [f"{line} while {phase.state}{phase.known}" for line in (ours, theirs) if line]
        until(lambda: len(rig.ends() + rig.log()[len(before) :]) >= len(expected))
        assert rig.ends() + rig.log()[len(before) :] == expected
