"""What ``fastmail migrate`` says of a configuration itself."""

from __future__ import annotations

import textwrap

from fastmail.config import Configuration, Ignored, Listen, ServerConfiguration
from fastmail.config.parser import IGNORED_BLOCK
from fastmail.migrate.differences import SECTIONS
from fastmail.migrate.probe import url

WIDTH = 100

_BLOCK_REASON = "not for a mail proxy; leave it to nginx"
_STARTTLS = {"off": "not encrypted", "on": "STARTTLS offered", "only": "STARTTLS required"}


def is_about_ignored(message: str) -> bool:
    """Whether this warning of the configuration is in ignored() as well."""
    return f" {IGNORED_BLOCK} in " in message


def served(configuration: Configuration) -> str:
    """A line for each address, and where it stands."""
    if not configuration.servers:
        return "    nothing: there is no server in a mail block, and nothing to switch over"
    rows = [_row(server, listen) for server in configuration.servers for listen in server.listens]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"    {line.rstrip()}" for line in lines)


def ignored(configuration: Configuration) -> str:
    """What is accepted without function, each with its reason."""
    if not configuration.ignored:
        return "    nothing"
    lines = (f"    {_words(one)}  {one.place}\n{_wrapped(_reason(one), 8)}" for one in configuration.ignored)
    return "\n".join(lines)


def different(configuration: Configuration) -> str:
    """Those of docs/differences.md that this configuration can show."""
    total = sum(len(differences) for _, differences in SECTIONS.values())
    parts = []
    count = 0
    for title, (_, differences) in SECTIONS.items():
        texts = [difference.text for difference in differences if difference.matters(configuration)]
        count += len(texts)
        if texts:
            parts.append(f"    {title}\n" + "\n".join(_bullet(text) for text in texts))
    return "\n\n".join([f"    {count} of the {total} differences from nginx can matter here.", *parts])


def _row(server: ServerConfiguration, listen: Listen) -> tuple[str, ...]:
    tls = "TLS" if listen.ssl else _STARTTLS[server["starttls"]]
    extra = ", behind PROXY headers" if listen.proxy_protocol else ""
    return server.protocol, listen.text, tls + extra, f"asks {url(server.auth_http)}", server.location


def _words(one: Ignored) -> str:
    return f"{one.words[0]} {{}}" if one.block else f"{' '.join(one.words)};"


def _reason(one: Ignored) -> str:
    return _BLOCK_REASON if one.block else one.reason


def _bullet(text: str) -> str:
    plain = text.replace("**", "")
    return textwrap.fill(
        plain, WIDTH, initial_indent="      - ", subsequent_indent="        ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _wrapped(text: str, indent: int) -> str:
    return textwrap.indent(textwrap.fill(text, WIDTH - indent), " " * indent)
