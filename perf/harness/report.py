"""The results as tables: aligned text for a terminal, Markdown for a file."""

from collections.abc import Sequence
from dataclasses import dataclass

from .ratios import Estimate, estimate, ratio
from .scenarios import Figure, Scenario, Slice

HEAD = ("figure", "proxy", "median", "95 % interval", "× {baseline}", "expected", "note")


@dataclass(frozen=True)
class Row:
    """One figure of one proxy, and its ratio to the baseline (None: there is none, or it is it)."""

    figure: Figure
    proxy: str
    value: Estimate
    ratio: Estimate | None
    expectation: float | None
    note: str

    @property
    def met(self) -> bool | None:
        """A ratio meets its expectation when the upper end of its interval does."""
        if self.ratio is None or self.expectation is None:
            return None
        return self.ratio.high <= self.expectation

    def cells(self) -> list[str]:
        compared = "" if self.ratio is None else _ratio(self.ratio)
        expected = ""
        if self.met is not None:
            expected = f"≤ {self.expectation:g} {'met' if self.met else 'NOT met'}"
        scale, unit = self.figure.scale, self.figure.unit
        median = f"{_number(self.value.median * scale)} {unit}".strip()
        spread = f"{_number(self.value.low * scale)}–{_number(self.value.high * scale)}"
        return [self.figure.title, self.proxy, median, spread, compared, expected, self.note]


def rows(scenario: Scenario, slices: dict[str, list[Slice]], baseline: str) -> list[Row]:
    """Of one scenario: for each figure the proxies in the order measured.

    ``slices`` holds the rounds of each proxy; without the baseline in it nothing is compared.
    """
    found = []
    for number, figure in enumerate(scenario.figures):
        series = {proxy: [part.values[figure.title] for part in parts] for proxy, parts in slices.items()}
        for proxy, values in series.items():
            compared = None
            if baseline in series and proxy != baseline:
                compared = ratio(values, series[baseline])
            note = _note(scenario, slices[proxy]) if number == 0 else ""
            expected = figure.expectation if proxy.startswith("fastmail") else None
            found.append(Row(figure, proxy, estimate(values), compared, expected, note))
    return found


def _note(scenario: Scenario, slices: Sequence[Slice]) -> str:
    """How fast it went, how much of the time was user code, and how busy the worker was."""
    used = [part.used for part in slices if part.used]
    if not used:
        return ""
    seconds = sum(part.seconds for part in slices)
    done = sum(part.done for part in slices) / seconds
    rate = f"{done / 1e9:.2f} GB/s" if scenario.key == "bulk" else f"{done:,.0f}/s"
    ticks = sum(part.user + part.system for part in used)
    user = f", user {sum(part.user for part in used) / ticks:.0%}" if ticks else ""
    return f"{rate}{user}, core {sum(part.total for part in used) / seconds:.0%} busy"


def _number(value: float) -> str:
    """Three digits at least, and no more after the point than they need."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _ratio(value: Estimate) -> str:
    return f"{value.median:.3f} [{value.low:.3f}–{value.high:.3f}]"


def figures_table(found: Sequence[Row], baseline: str) -> list[list[str]]:
    """Head and one row for each figure of each proxy; a figure is named once."""
    table = [[cell.format(baseline=baseline or "nothing") for cell in HEAD]]
    title = ""
    for row in found:
        cells = row.cells()
        if cells[0] == title:
            cells[0] = ""
        title = row.figure.title
        table.append(cells)
    return table


def calls_table(calls: dict[str, dict[str, float]]) -> list[list[str]]:
    """System calls by name (rows) and proxy (columns), per login; head included."""
    names = sorted({name for counts in calls.values() for name in counts})
    names.sort(key=lambda name: -max(counts.get(name, 0) for counts in calls.values()))
    table = [["call", *calls]]
    for name in names:
        numbers = [counts.get(name, 0) for counts in calls.values()]
        if max(numbers) >= 0.01:
            table.append([name, *(f"{number:.2f}" for number in numbers)])
    return table


def text(table: Sequence[Sequence[str]]) -> str:
    """For a terminal."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    ruled = [table[0], ["-" * width for width in widths], *table[1:]]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in ruled
    )


def markdown(table: Sequence[Sequence[str]]) -> str:
    """For a file."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [table[0], ["---"] * len(table[0]), *table[1:]])
