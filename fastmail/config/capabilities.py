"""Capabilities that are listed although the command that they announce is refused before login.

Only commands that a client may send before it logs in count: what it sends later is the backend's to answer.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_NEVER = {
    "imap": {"LANGUAGE"},  # RFC 5255
    "pop3": {"LANG", "UTF8"},  # RFC 6856
    # RFC 3030, 1985 and 5321, Postfix's XCLIENT and XFORWARD. What follows a refused BDAT would be read as
    # commands.
    "smtp": {"BINARYMIME", "CHUNKING", "ETRN", "EXPN", "HELP", "VRFY", "XCLIENT", "XFORWARD"},
}
_STARTTLS = {"imap": "STARTTLS", "pop3": "STLS", "smtp": "STARTTLS"}
_ALWAYS = {"PLAIN", "LOGIN"}
"""Mechanisms that are taken even where they are not offered, as by nginx."""


def refused_before_login(server: Mapping[str, Any]) -> Iterator[str]:
    """What a server lists in vain, as it stands in the configuration."""
    protocol = server["protocol"]
    offered = _ALWAYS | {name.upper() for name in server[f"{protocol}_auth"]}
    for capability in server[f"{protocol}_capabilities"]:
        words = capability.upper().split()
        if words and _refused(protocol, words, server, offered):
            yield capability


def _refused(protocol: str, words: list[str], server: Mapping[str, Any], offered: set[str]) -> bool:
    name = words[0]
    if name in _NEVER[protocol] or (name == _STARTTLS[protocol] and server["starttls"] == "off"):
        return True
    if protocol == "imap":
        return (name == "ID" and not server["imap_id"]) or (
            name.startswith("AUTH=") and name.removeprefix("AUTH=") not in offered
        )
    return name == ("SASL" if protocol == "pop3" else "AUTH") and not offered.issuperset(words[1:])
