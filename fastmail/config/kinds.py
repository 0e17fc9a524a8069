"""How the arguments of a directive become a value, one Kind per syntax (reference: nginx).

``parse(statement, previous)`` returns the value; ``previous`` is what the same level holds already
(None: nothing). It raises ConfigError. A kind that does not repeat is an error the second time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import units
from .statement import Statement

Parse = Callable[[Statement, Any], Any]


@dataclass(frozen=True)
class Kind:
    name: str
    parse: Parse
    repeats: bool = False
    choices: tuple[str, ...] = ()


def _flag(statement: Statement, previous: Any) -> bool:
    value = statement.words[1]
    if value.lower() not in ("on", "off"):
        raise statement.error(
            f'invalid value "{value}" in "{statement.name}" directive, it must be "on" or "off"'
        )
    return value.lower() == "on"


def _converted(convert: Callable[[str], int], message: str) -> Parse:
    def parse(statement: Statement, previous: Any) -> int:
        try:
            return convert(statement.words[1])
        except ValueError:
            raise statement.directive_error(message) from None

    return parse


def _strings(statement: Statement, previous: Any) -> tuple[str, ...]:
    return (*(previous or ()), *statement.arguments)


def _pairs(statement: Statement, previous: Any) -> tuple[tuple[str, str], ...]:
    return (*(previous or ()), (statement.words[1], statement.words[2]))


FLAG = Kind("flag", _flag)
NUMBER = Kind("number", _converted(units.number, "invalid number"))
SIZE = Kind("size", _converted(units.size, "invalid value"))
OFFSET = Kind("size", _converted(units.offset, "invalid value"))
MSEC = Kind("time (ms)", _converted(units.milliseconds, "invalid value"))
SEC = Kind("time (s)", _converted(units.seconds, "invalid value"))
STRING = Kind("string", lambda statement, previous: statement.words[1])
STRINGS = Kind("list", _strings, repeats=True)
PAIRS = Kind("name and value", _pairs, repeats=True)


def enum(*choices: str) -> Kind:
    """One of the words, whatever its case; the value is the word as listed here."""

    def parse(statement: Statement, previous: Any) -> str:
        value = statement.words[1]
        if value.lower() not in choices:
            raise statement.error(f'invalid value "{value}"')
        return value.lower()

    return Kind("enum", parse, choices=choices)


def bitmask(*choices: str) -> Kind:
    """Any of the words; the value lists them in the order given here."""
    by_lower = {choice.lower(): choice for choice in choices}

    def parse(statement: Statement, previous: Any) -> tuple[str, ...]:
        chosen = set(previous or ())
        for value in statement.arguments:
            choice = by_lower.get(value.lower())
            if choice is None:
                raise statement.error(f'invalid value "{value}"')
            if choice in chosen:
                statement.warn(f'duplicate value "{value}"')
            chosen.add(choice)
        return tuple(choice for choice in choices if choice in chosen)

    return Kind("bitmask", parse, repeats=True, choices=choices)
