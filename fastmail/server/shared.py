"""What the workers of one master share beside their sockets; it lives as long as the master does."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from fastmail.logs import describe
from fastmail.server import StartFailed

PLACES = 4096
"""Workers that can be alive at a time, those included that reloads have retired."""

_COUNTER = 8  # bytes


@dataclass(frozen=True)
class Share:
    """A worker's view of it."""

    counter: memoryview  # numbers sessions
    places: tuple[memoryview, int, int] | None
    """See ``_speedups.Engine``; None if nobody shares the listening sockets with this worker."""


class Shared:
    """The memory, and the eventfd that wakes workers when one of them has room again, or has none left."""

    def __init__(self) -> None:
        """Raises StartFailed."""
        try:
            self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError as error:
            raise StartFailed(f"eventfd() failed {describe(error)}") from error
        memory = memoryview(mmap.mmap(-1, _COUNTER + PLACES))
        self._counter, self._places = memory[:_COUNTER], memory[_COUNTER:]
        self._taken: set[int] = set()

    def take(self) -> int | None:
        """A place for a worker that is about to be started. None: there is none left."""
        place = next((place for place in range(PLACES) if place not in self._taken), None)
        if place is not None:
            self._taken.add(place)
        return place

    def give_back(self, place: int | None) -> None:
        """Its worker has ended, perhaps without a word."""
        if place is not None:
            self._taken.discard(place)
            self._places[place] = 0
            os.eventfd_write(self._bell, 1)

    def share(self, place: int | None) -> Share:
        return Share(self._counter, None if place is None else (self._places, place, self._bell))


def unshared() -> Share:
    """For a process that is the only worker."""
    return Share(memoryview(bytearray(_COUNTER)), None)
