"""What the plots show, taken out of the slices: plain numbers."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from .bench import Measured
from .crowd import LoginsBesideIdle
from .figures import is_fastmail
from .ratios import estimate
from .report import Row


def bars(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every figure that has a target: what was found and what was asked."""
    found = []
    for row in rows:
        target, judged = row.target, row.judged
        if target is None or judged is None:
            continue
        found.append({
            "title": row.figure.title, "proxy": row.subject.proxy, "against": row.figure.against.name,
            "median": judged.median, "low": judged.low, "high": judged.high,
            "reach": target.reach, "goal": target.goal,
        })  # fmt: skip
    return found


def crowd(measured: Sequence[Measured]) -> dict[str, list[list[float]]]:
    """For each proxy: idle sessions, processor time per login in µs, and the ends of its interval."""
    costs: dict[str, dict[int, list[float]]] = {}
    for scenario, slices in ((m.scenario, m.slices) for m in measured):
        if not isinstance(scenario, LoginsBesideIdle):
            continue
        for subject, parts in slices.items():
            sessions = scenario.sessions if subject.condition else 0
            costs.setdefault(subject.proxy, {}).setdefault(sessions, []).extend(part.cost for part in parts)
    found: dict[str, list[list[float]]] = {}
    for proxy, points in costs.items():
        for sessions, values in sorted(points.items()):
            cost = estimate(values)
            point = [sessions, cost.median * 1e6, cost.low * 1e6, cost.high * 1e6]
            found.setdefault(proxy, []).append(point)
    return found


def latencies(measured: Sequence[Measured]) -> dict[str, dict[str, list[list[float]]]]:
    """For each curve and proxy: fractions of what was done, and the latency in µs that they stayed within.

    Of every fraction the median of the slices.
    """
    found: dict[str, dict[str, list[list[float]]]] = {}
    for scenario, slices in ((m.scenario, m.slices) for m in measured):
        if not scenario.curve:
            continue
        for subject, parts in slices.items():
            if scenario.addition and not is_fastmail(subject.proxy):
                continue
            fractions = sorted(parts[0].quantiles)
            name = ", ".join(filter(None, (subject.proxy, scenario.addition)))
            found.setdefault(scenario.curve, {})[name] = [
                [fraction, median(part.quantiles[fraction] for part in parts)] for fraction in fractions
            ]
    return found
