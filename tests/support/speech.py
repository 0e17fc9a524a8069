"""What clients and backends say to get through a login, per protocol; for tests that try all three alike."""

from dataclasses import dataclass

from support.script import CLOSED, Talk


@dataclass(frozen=True)
class Speech:
    """Tables without the greeting; ``backend`` holds the replies of a backend that accepts the login."""

    protocol: str
    greeting: str
    login: Talk
    backend: tuple[str, ...]
    refusal: str
    """What a backend says instead of its last reply to refuse the login."""
    failed: str
    """The proxy's reply to an internal error."""
    bad: bytes
    """The end of the proxy's reply to an invalid command."""
    quit: str
    bye: bytes
    timed_out: bytes
    half_command: bytes
    exchange: Talk
    """Into the middle of a SASL exchange."""

    @property
    def failing_login(self) -> Talk:
        """The login that ends in an internal error."""
        *before, (last, _) = self.login
        return [*before, (last, (self.failed, CLOSED))]

    @property
    def asked_login(self) -> Talk:
        """The login up to the credentials, without waiting for the outcome."""
        *before, (last, _) = self.login
        return [*before, (last, None)]


IMAP = Speech(
    protocol="imap",
    greeting="* OK IMAP4 ready",
    login=[("a LOGIN user pass", "a OK in")],
    backend=("* OK hi", "a OK in"),
    refusal="a NO",
    failed="a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error",
    bad=b"BAD invalid command\r\n",
    quit="z LOGOUT",
    bye=b"* BYE\r\nz OK completed\r\n",
    timed_out=b"* BYE timeout, closing connection\r\n",
    half_command=b"a LOGIN us",
    exchange=[("a AUTHENTICATE LOGIN", "+ VXNlcm5hbWU6")],
)

POP3 = Speech(
    protocol="pop3",
    greeting="+OK POP3 ready",
    login=[("USER user", "+OK"), ("PASS pass", "+OK in")],
    backend=("+OK hi", "+OK", "+OK in"),
    refusal="-ERR no",
    failed="-ERR internal server error",
    bad=b"-ERR invalid command\r\n",
    quit="QUIT",
    bye=b"+OK\r\n",
    timed_out=b"",
    half_command=b"USER us",
    exchange=[("AUTH LOGIN", "+ VXNlcm5hbWU6")],
)

SMTP = Speech(
    protocol="smtp",
    greeting="220 mail.example.com ESMTP ready",
    login=[("AUTH PLAIN AHVzZXIAcGFzcw==", "235 2.0.0 OK")],
    backend=("220 hi", "250 ok", "220 ok"),
    refusal="550 no",
    failed="451 4.3.2 Internal server error",
    bad=b"500 5.5.1 Invalid command\r\n",
    quit="QUIT",
    bye=b"221 2.0.0 Bye\r\n",
    timed_out=b"421 4.4.2 mail.example.com timeout, closing connection\r\n",
    half_command=b"EHLO cl",
    exchange=[("AUTH LOGIN", "334 VXNlcm5hbWU6")],
)

SPEECHES = [IMAP, POP3, SMTP]
