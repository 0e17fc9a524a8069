"""The command line of ``fastmail migrate``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastmail import config
from fastmail.config import NGINX, ConfigError, Configuration
from fastmail.logs import describe
from fastmail.migrate import advice, auth, report, switch


def main(arguments: Sequence[str]) -> int:
    """Run ``fastmail migrate`` with these arguments; returns the exit status."""
    options = _parser().parse_args(arguments)
    here = switch.Machine.here()
    try:
        prefix = os.path.abspath(options.prefix or here.nginx_prefix or NGINX.prefix)
        path = os.path.abspath(options.conf)
    except FileNotFoundError as error:  # the current directory has been removed
        _complain("emerg", f"getcwd() failed {describe(error)}")
        return 1
    try:
        configuration = config.load(path, prefix=prefix, identity="nginx")
        warnings = [*configuration.messages, *configuration.check()]
    except ConfigError as error:
        for level, text in (*error.warnings, (error.level, str(error))):
            _complain(level, text)
        return 1
    for level, text in warnings:
        if not report.is_about_ignored(text):
            _complain(level, text)
    try:
        text = _text(configuration, here, auth.Findings.of(configuration, asked=options.probe_auth))
    except PermissionError as error:
        _complain("emerg", f'open() "{error.filename}" failed {describe(error)}')
        return 1
    return _print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastmail migrate",
        description="Say what fastmail serves of an nginx configuration, what it ignores and why, "
        "what differs, and how to switch over and back. Nothing is changed.",
    )
    parser.add_argument(
        "conf", nargs="?", default=NGINX.conf, metavar="CONF", help="nginx's configuration file (%(default)s)"
    )
    parser.add_argument("-p", dest="prefix", metavar="prefix", help="nginx's prefix (what nginx -V says)")
    parser.add_argument(
        "--probe-auth", action="store_true",
        help="ask each auth server for a login that can't exist, twice, to find out if it keeps connections",
    )  # fmt: skip
    return parser


def _text(configuration: Configuration, here: switch.Machine, found: auth.Findings) -> str:
    verdict = [("Verdict", advice.verdict(configuration))] if configuration.servers else []
    sections = [
        *verdict,
        ("Served", report.served(configuration)),
        ("Ignored", report.ignored(configuration)),
    ]
    if configuration.servers:
        sections.append(("Different", report.different(configuration)))
        instructions = switch.instructions(configuration, here, auth.DIRECTIVE if found.all_keep else "")
        added = any(auth.DIRECTIVE in text for _, text in instructions)
        sections.append(("Auth servers", found.text(configuration, added=added)))
        sections += instructions
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections) + "\n"


def _complain(level: str, text: str) -> None:
    line = f"fastmail migrate: [{level}] {text}\n"
    sys.stderr.buffer.write(line.encode(errors="surrogateescape"))


def _print(text: str) -> int:
    try:
        with open(1, "wb", closefd=False) as output:
            output.write(text.encode(errors="surrogateescape"))
    except OSError as error:
        print(f"fastmail migrate: cannot write to standard output: {error.strerror}", file=sys.stderr)
        return 1
    return 0
