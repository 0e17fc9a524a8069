"""The command line of ``fastmail demo``.

It needs the standard library alone, so that ``ci/demo --help`` builds nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

PORTS = {"imap": 1143, "pop3": 1110, "smtp": 1025}
TLS_PORTS = {"imap": 1993, "pop3": 1995, "smtp": 1465}
"""Where the demo listens unless ``--ports`` and ``--tls-ports`` say otherwise."""

_DESCRIPTION = """\
Run fastmail on 127.0.0.1 with an auth server and a small mailbox behind it, log in once by each protocol,
and show who says what to whom: client, fastmail, auth server and backend. It stays until Ctrl-C, so that
you can log in yourself: with curl, nc or a mail program."""


@dataclass(frozen=True)
class Options:
    check: bool
    ports: dict[str, int]  # by protocol; 0: any that is free
    tls_ports: dict[str, int]


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Raises SystemExit after printing help (status 0) or what is wrong (status 2)."""
    parser = argparse.ArgumentParser(
        prog="fastmail demo", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="log in once by each protocol, then exit with status 0 or 1"
    )
    for name, standard, kind in (("--ports", PORTS, "plain text"), ("--tls-ports", TLS_PORTS, "TLS")):
        parser.add_argument(
            name,
            type=_ports,
            default=standard,
            metavar="IMAP,POP3,SMTP",
            help=f"ports for {kind} (default {','.join(map(str, standard.values()))}; 0: any free port)",
        )
    found = parser.parse_args(arguments)
    return Options(found.check, found.ports, found.tls_ports)


def _ports(text: str) -> dict[str, int]:
    numbers = text.split(",")
    if len(numbers) != len(PORTS) or not all(n.isdecimal() and int(n) < 65536 for n in numbers):
        raise argparse.ArgumentTypeError("three port numbers, separated by commas")
    return dict(zip(PORTS, map(int, numbers), strict=True))


if __name__ == "__main__":
    parse()
