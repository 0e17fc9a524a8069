"""Capabilities that are listed although the command that they announce is refused before login."""

from pathlib import Path

import pytest

from fastmail.config import load


def warned(tmp_path: Path, protocol: str, capabilities: str, more: str = "") -> list[str]:
    (tmp_path / "n.conf").write_text(
        f"events {{}} mail {{ auth_http 127.0.0.1;\nserver {{ listen 1143; protocol {protocol}; "
        f"{protocol}_capabilities {capabilities}; {more} }} }}"
    )
    return [text for _, text in load("n.conf", prefix=str(tmp_path)).check()]


@pytest.mark.parametrize(
    ("protocol", "capability", "more"),
    [
        ("imap", "ID", "imap_id off;"),
        ("imap", "id", "imap_id off;"),
        ("imap", "STARTTLS", ""),
        ("imap", "AUTH=CRAM-MD5", ""),
        ("imap", "AUTH=XOAUTH2", "imap_auth plain cram-md5 external;"),
        ("imap", "LANGUAGE", ""),
        ("pop3", "STLS", ""),
        ("pop3", "SASL PLAIN SCRAM-SHA-256", ""),
        ("pop3", "UTF8", ""),
        ("smtp", "STARTTLS", ""),
        ("smtp", "AUTH PLAIN LOGIN CRAM-MD5", ""),
        ("smtp", "ETRN", ""),
        ("smtp", "VRFY", ""),
        ("smtp", "CHUNKING", ""),
    ],
)
def test_refused(tmp_path: Path, protocol: str, capability: str, more: str) -> None:
    assert warned(tmp_path, protocol, f'X "{capability}" Y', more) == [
        f'"{protocol}_capabilities" lists "{capability}", which is refused before login '
        f"in {tmp_path}/n.conf:2"
    ]


@pytest.mark.directive("imap_id")
@pytest.mark.parametrize(
    ("protocol", "capabilities", "more"),
    [
        ("imap", "IMAP4rev1 ID LITERAL+ SASL-IR ENABLE NAMESPACE IDLE AUTH=PLAIN AUTH=LOGIN", ""),
        ("imap", "AUTH=CRAM-MD5 AUTH=external", "imap_auth cram-md5 external;"),
        ("pop3", 'TOP USER UIDL RESP-CODES PIPELINING "SASL PLAIN LOGIN" "EXPIRE NEVER"', ""),
        ("smtp", '"SIZE 10240000" PIPELINING 8BITMIME DSN ENHANCEDSTATUSCODES "AUTH PLAIN" SMTPUTF8', ""),
    ],
)
def test_taken(tmp_path: Path, protocol: str, capabilities: str, more: str) -> None:
    assert warned(tmp_path, protocol, capabilities, more) == []
