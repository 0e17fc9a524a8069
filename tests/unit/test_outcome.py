"""What ``-s reload --wait`` learns from the master's record of its reloads."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from fastmail.logs import Log
from fastmail.server.outcome import Outcomes, Waiter, WaitFailed


@contextmanager
def reloads(what_happens: Callable[[Outcomes], None]) -> Iterator[Waiter]:
    """A waiter for this process, in which that happens at HUP."""
    with closing(Outcomes(Log())) as outcomes:
        before = signal.signal(signal.SIGHUP, lambda *_: what_happens(outcomes))
        try:
            with closing(Waiter(os.getpid(), {os.getuid()})) as waiter:
                yield waiter
        finally:
            signal.signal(signal.SIGHUP, before)


def test_a_superseded_reload_has_the_outcome_of_the_one_that_did_it() -> None:
    def a_broken_one_in_between(outcomes: Outcomes) -> None:
        first, broken, good = (outcomes.begin() for _ in range(3))
        outcomes.end(broken, 'unknown directive "nonsense"')
        outcomes.supersede(first, good)
        outcomes.end(good)

    with reloads(a_broken_one_in_between) as waiter:
        waiter.reload(60)


def test_a_superseded_reload_fails_with_the_one_that_did_it() -> None:
    def both_fail(outcomes: Outcomes) -> None:
        first, second = outcomes.begin(), outcomes.begin()
        outcomes.supersede(first, second)
        outcomes.end(second, "no workers")

    with reloads(both_fail) as waiter, pytest.raises(WaitFailed, match="no workers"):
        waiter.reload(60)
