"""What ``fastmail migrate`` says of connections to auth servers, and what it proposes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from fastmail.config import Configuration, ServerConfiguration
from fastmail.migrate import probe

KEPT = 4
DIRECTIVE = f"auth_http_keepalive {KEPT};"

_WIDTH = 100
_UNASKED = (
    "A login is cheaper when connections to it are kept open. To find out whether it keeps them, run this "
    f"again with --probe-auth: it then asks the server twice for a login of {probe.USER}, who can't exist, "
    f'with the password "{probe.PASSWORD}" and the client {probe.CLIENT}, which is nobody\'s address.'
)


@dataclass(frozen=True)
class Findings:
    """What the auth servers have answered, by their URLs; empty: they have not been asked."""

    by_url: dict[str, probe.Finding]
    all_keep: bool  # they have all been asked, keep connections, and nothing is set yet

    @classmethod
    def of(cls, configuration: Configuration, *, asked: bool) -> Findings:
        servers = {probe.url(server.auth_http): server for server in configuration.servers}
        if not asked:
            return cls({}, False)
        found = {url: probe.ask(server) for url, server in servers.items()}
        unset = not any(server["auth_http_keepalive"] for server in configuration.servers)
        return cls(found, unset and all(finding.keeps for finding in found.values()))

    def text(self, configuration: Configuration, *, added: bool) -> str:
        """The section of the report. ``added``: the file that fastmail is to read gets the directive."""
        lines = []
        for url, server in {probe.url(server.auth_http): server for server in configuration.servers}.items():
            lines.append(_paragraph(f"{url}: {self._one(url, server)}"))
        if self.all_keep:
            lines.append(_paragraph(_proposal(configuration, added)))
        return "\n".join(lines)

    def _one(self, url: str, server: ServerConfiguration) -> str:
        if server["auth_http_keepalive"]:
            return f"auth_http_keepalive is {server['auth_http_keepalive']} already."
        finding = self.by_url.get(url)
        if finding is None:
            return _UNASKED
        if finding.keeps:
            return f"{finding.reason}. {DIRECTIVE} suits it."
        return f"{finding.reason}. It gains nothing by auth_http_keepalive."


def _proposal(configuration: Configuration, added: bool) -> str:
    if added:
        return f"The file that the commands below write for fastmail has {DIRECTIVE}"
    place = configuration.scope.blocks["mail"][0].place
    return (
        f"Once you don't want to go back to nginx, which doesn't know the directive, put {DIRECTIVE} into "
        f"the mail block that begins in {place}."
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="    ", subsequent_indent="        ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
