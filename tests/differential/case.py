"""What a case of the comparison is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from servers import protocol
from support.authserver import answer
from support.listener import Moves
from support.script import Talk, expected

BACKEND_PORT = "99999"
"""Stands in answers for the port of the recording backend."""

DEAD_PORT = "99998"
"""Stands in answers for a port where connections are refused."""

ACCEPT = answer("OK", port=BACKEND_PORT)
PASSWORD = answer("OK", "Auth-Pass: known", port=BACKEND_PORT)
"""An acceptance that brings the password along, as APOP, CRAM-MD5 and EXTERNAL need it."""
REJECT = answer("Invalid login or password")
REJECT_WAIT = answer("Invalid login or password", "Auth-Wait: 1")

SALT = "<SALT@mail.example.com>"
"""What the random part of a challenge is replaced by; its base64 form reads ``BASE64(...)``."""

GREETING = {
    "imap": "* OK IMAP4 ready",
    "pop3": f"+OK POP3 ready {SALT}",
    "pop3-plain": "+OK POP3 ready",
    "smtp": "220 mail.example.com ESMTP ready",
}


@dataclass(frozen=True)
class Case:
    """One session: the client's table, the auth server's answers in order, the backend's replies in order.

    ``talk`` says what the reference (or fastmail, where it is meant to differ) replies, after the greeting;
    ``greeting`` is False where the table has it itself. Each proxy plays it against its own peers.
    """

    name: str
    talk: Talk
    auth: Sequence[Moves] = ()
    backend: Sequence[Moves] = ()
    server: str = "imap"
    go_aheads: Sequence[Moves] = ()
    greeting: bool = True

    @property
    def protocol(self) -> str:
        return protocol(self.server)

    @property
    def whole_talk(self) -> Talk:
        """The table with the greeting in front."""
        greeting = GREETING.get(self.server, GREETING[self.protocol])
        return [(None, greeting), *self.talk] if self.greeting else self.talk

    @property
    def client(self) -> str:
        """All that the client is expected to receive."""
        return expected(self.whole_talk).decode("latin-1")
