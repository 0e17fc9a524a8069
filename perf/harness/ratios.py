"""Medians of paired slices, and how sure they are."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % interval (percentile bootstrap); both ends equal it for one value."""

    median: float
    low: float
    high: float


def estimate(values: Sequence[float]) -> Estimate:
    """Of at least one value. The resampling is seeded: the same slices give the same interval."""
    chance = random.Random(0)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = RESAMPLES // 40  # 2.5 % on either side
    return Estimate(median(values), medians[tail], medians[-1 - tail])


def ratio(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Of slice to slice of the same round, so that what disturbed both does not count."""
    return estimate([value / base for value, base in zip(values, baseline, strict=True)])
