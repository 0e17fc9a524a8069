"""Postfix, Dovecot, an auth server and a proxy: mail goes in and comes out through the proxy."""

import contextlib
import hashlib
import hmac
import re
import time
from dataclasses import dataclass

from support import ports
from support.authserver import AuthServer, Request, answer
from support.closing import Closing
from support.dovecot import PASSWORD, Dovecot
from support.listener import Moves
from support.postfix import DOMAIN, Postfix
from support.proxy import Proxy

SENDER = f"sender@{DOMAIN}"
CLIENT = "127.0.0.2"
"""The address that clients connect from, so that it differs from the proxy's."""

_TRACE = re.compile(rb"(?:(?:Return-Path|Delivered-To|X-Original-To|Received):[^\n]*\n(?:[ \t][^\n]*\n)*)+")
_USERS = [f"user{number}" for number in range(200)]


@dataclass(frozen=True)
class Door:
    """An SMTP listener of the proxy: its directives, and how Postfix's trace names the client."""

    directives: str
    backend: str
    """The name of the port of Postfix it leads to."""
    trusted: bool
    """Whether Postfix learns the client's address, by XCLIENT."""
    login: bool
    """Whether Postfix learns the login, by XCLIENT or SASL."""


DOORS = {
    "xclient": Door("xclient on;", "submission_xclient", trusted=True, login=True),
    "xclient and auth": Door("xclient on; proxy_smtp_auth on;", "submission_xclient", True, True),
    "auth": Door("xclient off; proxy_smtp_auth on;", "submission", trusted=False, login=True),
    "neither": Door("xclient off;", "incoming", trusted=False, login=False),
}
OPEN_DOORS = {
    "none, xclient": Door("smtp_auth none; xclient on;", "incoming_xclient", trusted=True, login=False),
    "none": Door("smtp_auth none; xclient off;", "incoming", trusted=False, login=False),
}


class MailHouse(Closing):
    """Everything, started. ``smtp`` gives the proxy's port for each door's name."""

    def __init__(self, kind: str) -> None:
        self.imap = ports.reserve()
        self.pop3 = ports.reserve()
        self.smtp = {name: ports.reserve() for name in [*DOORS, *OPEN_DOORS]}
        self.methods: list[str] = []
        """The Auth-Method of each login so far."""
        self._fresh = iter(_USERS)
        with contextlib.ExitStack() as stack:
            self.dovecot = stack.enter_context(Dovecot(_USERS))
            self.postfix = stack.enter_context(Postfix(self.dovecot, _USERS))
            auth = stack.enter_context(AuthServer(self._judge))
            listens = [self.imap, self.pop3, *self.smtp.values()]
            self.proxy = stack.enter_context(Proxy(kind, self._configuration(auth.port), listens))
            self._stack = stack.pop_all()

    def user(self) -> str:
        """A user whose inbox is empty."""
        return next(self._fresh)

    def delivered(self, user: str, count: int = 1, seconds: float = 20) -> list[bytes]:
        """Wait until ``count`` messages lie in the inbox; as they lie there. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while len(messages := self.dovecot.messages(user)) < count:
            log = self.postfix.log()[-3000:]
            assert time.monotonic() < deadline, f"{len(messages)} of {count} for {user}: {log}"
            time.sleep(0.01)
        assert len(messages) == count
        return messages

    def close(self) -> None:
        """Stop all that was started."""
        self._stack.close()

    def _configuration(self, auth: int) -> str:
        doors = "".join(
            f"server {{ listen 127.0.0.1:{self.smtp[name]}; protocol smtp; {door.directives}"
            f" auth_http_header X-Backend {door.backend}; }}\n"
            for name, door in (DOORS | OPEN_DOORS).items()
        )
        return (
            f"auth_http 127.0.0.1:{auth}/auth; server_name proxy.example; proxy_pass_error_message on;\n"
            "imap_auth plain login cram-md5; pop3_auth plain apop cram-md5; smtp_auth plain login cram-md5;\n"
            "imap_capabilities IMAP4rev1 UIDPLUS; pop3_capabilities TOP USER UIDL PIPELINING;\n"
            "smtp_capabilities 'SIZE 100000000' PIPELINING 8BITMIME ENHANCEDSTATUSCODES;\n"
            f"server {{ listen 127.0.0.1:{self.imap}; protocol imap; }}\n"
            f"server {{ listen 127.0.0.1:{self.pop3}; protocol pop3; }}\n{doors}"
        )

    def _judge(self, request: Request) -> Moves:
        headers = request.headers
        self.methods.append(headers["auth-method"])
        backends = {"imap": self.dovecot.imap, "pop3": self.dovecot.pop3}
        port = backends.get(headers["auth-protocol"]) or getattr(self.postfix, headers["x-backend"])
        if headers["auth-method"] == "none":
            return answer("OK", port=port)
        if not right(headers):
            return answer("Invalid login or password")
        return answer("OK", f"Auth-Pass: {PASSWORD}", port=port)


def right(headers: dict[str, str]) -> bool:
    """Whether an auth request proves that the client knows PASSWORD."""
    salt = headers.get("auth-salt", "").encode()
    secret = PASSWORD.encode()
    proofs = {
        "plain": PASSWORD.replace(" ", "%20"),
        "apop": hashlib.md5(salt + secret).hexdigest(),
        "cram-md5": hmac.new(secret, salt, "md5").hexdigest(),
    }
    return headers["auth-pass"] == proofs[headers["auth-method"]]


def without_trace(message: bytes) -> bytes:
    """A received message without the headers that Postfix has put on top (RFC 5321 section 4.4)."""
    trace = _TRACE.match(message)
    assert trace, message[:200]
    return message[trace.end() :]


def trace_of(message: bytes) -> str:
    """Those headers alone."""
    return message[: len(message) - len(without_trace(message))].decode("latin-1")
