"""What a figure is, what is asked of it, and what one slice of load gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .measure import Processor

EXACT = "fastmail, nginx's exact bytes"
TUNED_NAME = "fastmail, tuned"
"""Shown beside fastmail as packaged."""


def is_fastmail(proxy: str) -> bool:
    """Whether a proxy of this name is one of fastmail's variants; the others are nginx's."""
    return proxy.startswith("fastmail")


def is_judged(proxy: str) -> bool:
    """Whether targets are meant for a proxy of this name."""
    return is_fastmail(proxy) and proxy not in (EXACT, TUNED_NAME)


class Against(Enum):
    """What a figure is held against."""

    NGINX = "nginx's, under the same condition"
    OWN = "the same proxy's, without the condition"
    NOTHING = "shown as it is"


@dataclass(frozen=True)
class Target:
    """Upper bounds: ``reach`` is what has to be shown, ``goal`` what the work is after.

    Both of the ratio, or of the figure itself where that is held against nothing. ``limit``, in the
    figure's unit, belongs to ``reach`` and bounds the figure itself.
    """

    reach: float
    goal: float
    limit: float | None = None


@dataclass(frozen=True)
class Figure:
    """One row of the report. ``scale`` turns the measured unit into the printed one.

    ``elapsed`` is time by the clock on the wall, which others on the machine disturb.
    """

    title: str
    unit: str = ""
    scale: float = 1.0
    against: Against = Against.NGINX
    target: Target | None = None
    elapsed: bool = False


@dataclass(frozen=True)
class Slice:
    """What one slice gave: values by figure title, and what the notes and the plots are made of."""

    values: dict[str, float] = field(default_factory=dict)
    used: Processor | None = None
    workers: int = 1  # that used it
    others: float | None = None  # seconds, by coarse ticks, that the worker's core worked for anything else
    seconds: float = 0.0
    done: float = 0.0  # logins, exchanges or bytes
    quantiles: Mapping[float, float] = field(default_factory=dict)  # fraction -> latency, µs

    @property
    def cost(self) -> float:
        """Seconds of processor time for each that was done."""
        assert self.used is not None
        return self.used.total / self.done


@dataclass(frozen=True)
class Subject:
    """Who was measured: a proxy, and under which condition; without one it is what OWN compares with."""

    proxy: str
    condition: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.proxy, self.condition)))
