"""What the demo serves: one entry per protocol."""

from __future__ import annotations

from dataclasses import dataclass

from fastmail.demo import tour
from fastmail.demo.backend import Session
from fastmail.demo.imap import CAPABILITIES, ImapSession
from fastmail.demo.mailbox import ADDRESS, PASSWORD, USER
from fastmail.demo.pop3 import Pop3Session
from fastmail.demo.smtp import SmtpSession


@dataclass(frozen=True)
class Protocol:
    name: str  # as the protocol directive has it
    session: type[Session]
    tour: tour.Tour
    directives: str  # further lines for the server block
    curl: str  # {port} is the proxy's
    typed: str  # what to type after nc


SMTP = Protocol(
    name="smtp",
    session=SmtpSession,
    tour=tour.send_by_smtp,
    directives='smtp_auth plain login; smtp_capabilities 8BITMIME PIPELINING "SIZE 67108864";',
    curl=f"echo Subject: Hi | curl --crlf -u {USER}:{PASSWORD} --mail-from me@localhost --mail-rcpt {ADDRESS}"
    " -T - smtp://127.0.0.1:{port}",
    typed="EHLO localhost",
)
IMAP = Protocol(
    name="imap",
    session=ImapSession,
    tour=tour.read_by_imap,
    directives="imap_auth plain; imap_capabilities "
    + " ".join(f'"{capability}"' for capability in CAPABILITIES.decode().split())
    + ";",
    curl=f"curl -u {USER}:{PASSWORD} 'imap://127.0.0.1:{{port}}/INBOX;UID=1'",
    typed=f"a1 LOGIN {USER} {PASSWORD}",
)
POP3 = Protocol(
    name="pop3",
    session=Pop3Session,
    tour=tour.read_by_pop3,
    directives="pop3_auth plain;",
    curl=f"curl -u {USER}:{PASSWORD} pop3://127.0.0.1:{{port}}/1",
    typed=f"USER {USER}",
)

PROTOCOLS = (SMTP, IMAP, POP3)
"""In the order of the tour: what SMTP sends, the others then read."""
