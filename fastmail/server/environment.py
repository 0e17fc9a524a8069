"""What workers and a new binary find in their environment (the ``env`` directive)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

_INTERPRETER = "PYTHON", "FASTMAIL_"
"""Prefixes of what a new binary needs besides: an interpreter is told where its parts are."""


def listed(names: Iterable[str], source: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``env`` directives (``NAME`` or ``NAME=VALUE``), and always TZ."""
    entries = [entry.partition("=") for entry in names]
    if all(name != "TZ" for name, _, _ in entries):
        entries.insert(0, ("TZ", "", ""))
    found: dict[str, str] = {}
    for name, equals, value in entries:
        if equals:
            found.setdefault(name, value)
        elif name in source:
            found.setdefault(name, source[name])
    return found


def for_new_binary(names: Iterable[str], source: Mapping[str, str]) -> dict[str, str]:
    """As listed(), with what finds the interpreter's modules."""
    kept = {name: value for name, value in source.items() if name.startswith(_INTERPRETER)}
    return {**kept, **listed(names, source)}


def reduce(names: Iterable[str]) -> None:
    """Leave this process only what is listed."""
    wanted = listed(names, os.environ)
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    os.environ.update(wanted)
    time.tzset()
