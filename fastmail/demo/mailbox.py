"""The mail that the demo's three backends share, in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP

USER = "user"
PASSWORD = "pass"
ADDRESS = "user@example.com"

SEEN = "\\Seen"
DELETED = "\\Deleted"


@dataclass(eq=False, slots=True)
class Message:
    """One stored message; ``data`` has CR LF line ends as far as its sender kept to them."""

    uid: int
    data: bytes
    date: datetime
    flags: set[str] = field(default_factory=set)


class Folder:
    """An ordered list of messages with IMAP's unique identifiers (RFC 3501 section 2.3.1.1)."""

    uid_validity = 1

    def __init__(self, name: str, attributes: str = "") -> None:
        self.name = name
        self.attributes = attributes  # as LIST prints them (RFC 6154 section 2)
        self.uid_next = 1
        self.messages: list[Message] = []
        self.watchers: set[asyncio.Event] = set()
        """Set whenever a message comes or goes."""

    def add(self, data: bytes, flags: set[str] | None = None, date: datetime | None = None) -> Message:
        message = Message(self.uid_next, data, date or datetime.now(UTC), set(flags or ()))
        self.uid_next += 1
        self.messages.append(message)
        self._tell()
        return message

    def remove(self, messages: list[Message]) -> None:
        """Remove those of ``messages`` that are still here."""
        self.messages = [message for message in self.messages if message not in messages]
        self._tell()

    def _tell(self) -> None:
        for event in self.watchers:
            event.set()


class Store:
    """The folders of the demo's only user."""

    def __init__(self) -> None:
        self.inbox = Folder("INBOX")
        self.folders = {
            folder.name: folder
            for folder in (
                self.inbox,
                Folder("Drafts", "\\Drafts"),
                Folder("Sent", "\\Sent"),
                Folder("Trash", "\\Trash"),
            )
        }

    def find(self, name: str) -> Folder | None:
        """The folder of that name; INBOX in any case (RFC 3501 section 5.1)."""
        return self.inbox if name.upper() == "INBOX" else self.folders.get(name)

    def create(self, name: str) -> Folder:
        return self.folders.setdefault(name, Folder(name))

    @staticmethod
    def accepts(login: bytes, password: bytes) -> bool:
        return login == USER.encode() and password == PASSWORD.encode()


def sample_store() -> Store:
    """A store with a few messages of different kinds in INBOX."""
    store = Store()
    start = datetime.now(UTC) - timedelta(days=1)
    for number, message in enumerate((_welcome(), _dots(), _attachment())):
        date = start + timedelta(hours=number)
        message["Date"] = date
        message["Message-ID"] = f"<{number + 1}@demo.example.com>"
        store.inbox.add(message.as_bytes(policy=SMTP), date=date)
    store.inbox.messages[0].flags.add(SEEN)
    return store


def _letter(subject: str, text: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = "fastmail demo <demo@example.com>"
    message["To"] = ADDRESS
    message["Subject"] = subject
    message.set_content(text)
    return message


def _welcome() -> EmailMessage:
    return _letter(
        "Welcome",
        "This message reached you through a proxy: your client logged in at fastmail,\n"
        "fastmail asked the auth service where your mailbox is, logged in there, and has\n"
        "been passing bytes along since.\n",
    )


def _dots() -> EmailMessage:
    return _letter(
        "Dots and umlauts: Grüße",
        "The next lines begin with dots, which POP3 and SMTP have to double:\n"
        ".\n..\n.hidden\nand this one has characters beyond ASCII: äöü € 漢字\n",
    )


def _attachment() -> EmailMessage:
    message = _letter("With an attachment", "The table is attached.\n")
    message.add_attachment(
        "protocol,port\nimap,143\npop3,110\nsmtp,25\n", subtype="csv", filename="ports.csv"
    )
    message.set_boundary("=_demo")
    return message
