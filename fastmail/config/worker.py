"""Values of the ``worker_*`` directives, and of ``use`` and ``env``."""

import os
from typing import Any

from . import units
from .statement import Statement

_MOST_PROCESSORS = 1024  # CPU_SETSIZE


def parse_processes(statement: Statement, previous: Any) -> int:
    """A number, or ``auto``: as many as there are processors online."""
    value = statement.words[1]
    if value == "auto":
        return max(os.sysconf("SC_NPROCESSORS_ONLN"), 1)
    try:
        return units.number(value)
    except ValueError:
        raise statement.directive_error("invalid value") from None


def parse_connections(statement: Statement, previous: Any) -> int:
    value = statement.words[1]
    try:
        return units.number(value)
    except ValueError:
        raise statement.error(f'invalid number "{value}"') from None


def parse_affinity(statement: Statement, previous: Any) -> tuple[str, ...]:
    """``auto [MASK]`` or masks of 0 and 1, the rightmost digit being processor 0."""
    masks = statement.arguments
    if masks[0] == "auto":
        if len(masks) > 2:
            raise statement.error(f'invalid number of arguments in "{statement.name}" directive')
        masks = masks[1:]
    for mask in masks:
        if len(mask) > _MOST_PROCESSORS:
            raise statement.error(f'"{statement.name}" supports up to {_MOST_PROCESSORS} CPUs only')
        for char in reversed(mask):
            if char not in "01 ":
                raise statement.error(f'invalid character "{char}" in "{statement.name}"')
    return tuple(statement.arguments)


def parse_priority(statement: Statement, previous: Any) -> int:
    """``[+-]N``."""
    value = statement.words[1]
    try:
        priority = units.number(value[1:] if value[:1] in ("+", "-") else value)
    except ValueError:
        raise statement.directive_error("invalid number") from None
    return -priority if value.startswith("-") else priority


def parse_event_method(statement: Statement, previous: Any) -> str:
    value = statement.words[1]
    if value != "epoll":
        raise statement.error(f'invalid event type "{value}"')
    return value


def parse_thread_pool(statement: Statement, previous: Any) -> tuple[str, ...]:
    """``NAME threads=N [max_queue=N]``, no name twice; the names. Other words are not looked at (nginx)."""
    name, parameters = statement.words[1], statement.words[2:]
    if name in (previous or ()):
        raise statement.error(f'duplicate thread pool "{name}"')
    threads = 0
    for word in parameters:
        kind, equals, value = word.partition("=")
        if not equals or kind not in ("threads", "max_queue"):
            continue
        try:
            number = units.number(value)
        except ValueError:
            number = -1
        if number < (kind == "threads"):
            raise statement.error(f'invalid {kind} value "{word}"')
        threads = number if kind == "threads" else threads
    if not threads:
        raise statement.error(f'"{statement.name}" must have "threads" parameter')
    return (*(previous or ()), name)


def parse_protocol(statement: Statement, previous: Any) -> str:
    """``imap``, ``pop3`` or ``smtp``, in lower case; the last one said counts."""
    value = statement.words[1]
    if value not in ("imap", "pop3", "smtp"):
        raise statement.error(f'unknown protocol "{value}"')
    return value
