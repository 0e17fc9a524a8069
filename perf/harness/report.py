"""The results as tables: aligned text for a terminal, Markdown for a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from .figures import Against, Figure, Slice, Subject, Target, is_judged
from .ratios import Estimate, estimate, ratio

Slices = Mapping[Subject, Sequence[Slice]]


@dataclass(frozen=True)
class Row:
    """One figure of one subject, what it is held against, and the ratio of the two."""

    figure: Figure
    subject: Subject
    value: Estimate
    middle: tuple[float, float]  # the half of the slices around the median lies between these
    count: int  # of slices
    base: Estimate | None  # None: there is nothing to hold it against, or it is that itself
    ratio: Estimate | None
    note: str = ""

    @property
    def judged(self) -> Estimate | None:
        """What a target bounds: the ratio, or the figure itself."""
        return self.value if self.figure.against is Against.NOTHING else self.ratio

    @property
    def target(self) -> Target | None:
        """What is asked: of fastmail, if there is something to hold it against; of nginx nothing."""
        asked = is_judged(self.subject.proxy) and self.judged is not None
        return self.figure.target if asked else None

    def meets(self, bound: float) -> bool | None:
        """The upper end of the interval has to; None where nothing is compared."""
        return None if self.judged is None else self.judged.high <= bound


def rows(figures: Sequence[Figure], slices: Slices, baseline: str) -> list[Row]:
    """Of one scenario: for each figure the subjects in the order measured.

    ``baseline`` is the proxy that Against.NGINX means; one that was not measured compares nothing.
    """
    found = []
    for number, figure in enumerate(figures):
        values = {subject: [part.values[figure.title] for part in parts] for subject, parts in slices.items()}
        for subject, series in values.items():
            other = _held_against(figure, subject, baseline)
            base = values.get(other) if other else None
            if base and not all(base):  # memory of so few sessions that no page was needed for them
                base = None
            found.append(
                Row(
                    figure, subject, estimate(series), middle_half(series), len(series),
                    estimate(base) if base else None, ratio(series, base) if base else None,
                    _note(slices[subject]) if number == 0 else "",
                )
            )  # fmt: skip
    return found


def _held_against(figure: Figure, subject: Subject, baseline: str) -> Subject | None:
    if figure.against is Against.NGINX and subject.proxy != baseline:
        return Subject(baseline, subject.condition)
    if figure.against is Against.OWN and subject.condition:
        return Subject(subject.proxy)
    return None


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    """The first and third quartile; of a single value it twice."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def _note(slices: Sequence[Slice]) -> str:
    """How fast it went, and how busy the workers were."""
    used = sum(part.used.total for part in slices if part.used)
    if not used:
        return ""
    seconds = sum(part.seconds for part in slices)
    done = sum(part.done for part in slices) / seconds
    rate = f"{done / 1e9:.2f} GB/s" if done > 1e8 else f"{done:,.0f}/s"
    workers = slices[0].workers
    return f"{rate}, {'worker' if workers == 1 else 'each worker'} {used / seconds / workers:.0%} busy"


def number(value: float) -> str:
    """Three digits at least, and no more after the point than they need."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _amount(figure: Figure, value: float) -> str:
    return f"{number(value * figure.scale)} {figure.unit}".strip()


def _ratio(value: Estimate) -> str:
    places = 3 if value.high < 2 else 1
    return f"{value.median:.{places}f} [{value.low:.{places}f}–{value.high:.{places}f}]"


def _verdict(row: Row, bound: float) -> str:
    return f"{bound:g} {'met' if row.meets(bound) else 'not met'}"


def _reach(row: Row) -> str:
    target = row.target
    if target is None:
        return ""
    text = _verdict(row, target.reach)
    if target.limit is not None:
        met = row.value.high < target.limit
        text += f"; under {target.limit:g} {row.figure.unit} {'met' if met else 'not met'}"
    return text


def _goal(row: Row) -> str:
    return _verdict(row, row.target.goal) if row.target else ""


def nginx_table(found: Sequence[Row], baseline: str, several: bool) -> list[list[str]]:
    """Figures of which something is asked, held against nginx's.

    ``several``: more than one proxy is, so each row names it.
    """
    table = [[*_head(baseline, several), "reach", "goal"]]
    asked = [row for row in found if row.target]
    return table + [[*_compared(row, several), _reach(row), _goal(row)] for row in asked if _is_compared(row)]


def shown_table(found: Sequence[Row], baseline: str, several: bool) -> list[list[str]]:
    """Figures of which nothing is asked, beside nginx's."""
    table = [_head(baseline, several)]
    shown = [row for row in found if not row.target]
    return table + [_compared(row, several) for row in shown if _is_compared(row)]


def _head(baseline: str, several: bool) -> list[str]:
    return ["figure", *(["proxy"] if several else []), baseline, "measured", "ratio [95 %]"]


def _is_compared(row: Row) -> bool:
    return row.figure.against is Against.NGINX and row.ratio is not None


def _compared(row: Row, several: bool) -> list[str]:
    assert row.base and row.ratio
    return [
        row.figure.title, *([row.subject.proxy] if several else []),
        _amount(row.figure, row.base.median), _amount(row.figure, row.value.median), _ratio(row.ratio),
    ]  # fmt: skip


def own_table(found: Sequence[Row]) -> list[list[str]]:
    """Figures held against the proxy's own, or against nothing."""
    table = [["figure", "proxy", "without", "measured", "ratio [95 %]", "reach", "goal"]]
    for row in found:
        if row.figure.against is Against.NGINX or row.judged is None:
            continue
        table.append([
            row.figure.title, row.subject.proxy,
            _amount(row.figure, row.base.median) if row.base else "",
            _amount(row.figure, row.value.median), _ratio(row.judged),
            _reach(row), _goal(row),
        ])  # fmt: skip
    return table


def spread_table(found: Sequence[Row]) -> list[list[str]]:
    """Every figure of every subject: how far its slices lay apart."""
    table = [["figure", "measured of", "median", "95 % interval", "middle half", "slices", "load"]]
    title = ""
    for row in found:
        scale = row.figure.scale
        table.append([
            row.figure.title if row.figure.title != title else "",
            str(row.subject),
            _amount(row.figure, row.value.median),
            f"{number(row.value.low * scale)}–{number(row.value.high * scale)}",
            f"{number(row.middle[0] * scale)}–{number(row.middle[1] * scale)}",
            str(row.count), row.note,
        ])  # fmt: skip
        title = row.figure.title
    return table


def user_table(scenarios: Mapping[str, Slices]) -> list[list[str]]:
    """Processor time divided as the kernel's ticks of all slices together were; a tick is coarse for one."""
    table = [["figure", "measured of", "all", "user code", "kernel"]]
    for title, slices in scenarios.items():
        for subject, parts in slices.items():
            used = [part.used for part in parts if part.used]
            ticks = sum(part.user + part.system for part in used)
            if not ticks:
                continue
            cost = sum(part.total for part in used) / sum(part.done for part in parts) * 1e6
            user = cost * sum(part.user for part in used) / ticks
            name = title if subject is next(iter(slices)) else ""
            table.append([name, subject.proxy, *(f"{number(part)} µs" for part in (cost, user, cost - user))])
    return table


def calls_table(calls: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """System calls by name (rows) and proxy (columns), per login; head included."""
    names = sorted({name for counts in calls.values() for name in counts})
    names.sort(key=lambda name: -max(counts.get(name, 0) for counts in calls.values()))
    table = [["call", *calls]]
    for name in names:
        numbers = [counts.get(name, 0) for counts in calls.values()]
        if max(numbers) >= 0.01:
            table.append([name, *(f"{value:.2f}" for value in numbers)])
    return [*table, ["all", *(f"{sum(counts.values()):.2f}" for counts in calls.values())]]


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
