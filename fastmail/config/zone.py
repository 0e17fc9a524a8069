"""Zones: named memory that all workers share, of one size however often it is named."""

import resource
from dataclasses import dataclass

from . import units
from .statement import Statement

_PAGES = 8


class ZoneSizeError(ValueError):
    """The size cannot be read, or (``small``) is too small."""

    def __init__(self, *, small: bool) -> None:
        super().__init__("too small" if small else "not a size")
        self.small = small


@dataclass(frozen=True)
class Zone:
    """Memory that workers and servers naming it share."""

    name: str
    size: int  # bytes


def declare(statement: Statement, name: str, size_text: str) -> Zone:
    """The zone of that name, of at least 8 pages. Raises ZoneSizeError, and ConfigError if another
    directive has it or an earlier statement said another size."""
    try:
        size = units.size(size_text)
    except ValueError:
        raise ZoneSizeError(small=False) from None
    if size < _PAGES * resource.getpagesize():
        raise ZoneSizeError(small=True)
    user, declared = statement.environment.zones.setdefault(name, (statement.name, size))
    if user != statement.name:
        raise statement.error(f'the shared memory zone "{name}" is already declared for a different use')
    if declared != size:
        raise statement.error(
            f'the size {size} of shared memory zone "{name}" conflicts with already declared size {declared}'
        )
    return Zone(name, size)
