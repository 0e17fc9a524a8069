"""What in a configuration needs its operator before fastmail takes over, the worst first."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from fastmail.config import Configuration, ServerConfiguration

_WIDTH = 100
_VARIABLE = re.compile(r"\$\w|\$\{")
_OLD = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1")


def verdict(configuration: Configuration) -> str:
    """The first section of the report."""
    found = list(dict.fromkeys(_found(configuration)))
    if not found:
        return "    Nothing here needs a change."
    count = "1 thing needs" if len(found) == 1 else f"{len(found)} things need"
    return "\n".join([f"    {count} you:", *map(_item, found)])


def _found(configuration: Configuration) -> Iterator[str]:
    for one in (_variables, _protocols, _families):
        for server in configuration.servers:
            yield from one(server)
    if configuration.servers and "error_log" not in configuration.scope.values:
        yield (
            'There is no "error_log" in the main context, so errors are logged but no logins, which fail2ban '
            'needs: add "error_log FILE info;".'
        )


def _variables(server: ServerConfiguration) -> Iterator[str]:
    for name, value in server["auth_http_header"]:
        if _VARIABLE.search(value):
            yield (
                f'"auth_http_header {name} {value}" is sent as it stands, by nginx too: '
                "the mail module has no variables."
            )


def _protocols(server: ServerConfiguration) -> Iterator[str]:
    if server.tls is None:
        return
    old = [version for version in server["ssl_protocols"] if version in _OLD]
    if old and "SECLEVEL=0" not in server["ssl_ciphers"]:
        yield (
            f'"ssl_protocols" names {" ".join(old)}, which OpenSSL 3 does not speak unless "ssl_ciphers" has '
            '"@SECLEVEL=0" (SSLv2 and SSLv3: never). Clients that know nothing newer cannot log in.'
        )


def _families(server: ServerConfiguration) -> Iterator[str]:
    auth = server.auth_http
    if len({family for family, _ in auth.addresses}) > 1:
        yield (
            f'"auth_http" names {auth.host}, which has IPv6 and IPv4 addresses. If the server listens '
            "on one of them only, write that one."
        )


def _item(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="      - ", subsequent_indent="        ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
