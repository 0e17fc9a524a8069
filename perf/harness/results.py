"""All that a run has found, as text, as Markdown, and as the harness's check of itself."""

from . import report
from .scenarios import Scenario, Slice, SystemCallsOfLogins

ALIKE = (0.95, 1.05)  # where the ratio of a proxy to itself has to lie


class Results:
    """The rows of every scenario, for each nginx that they are compared with."""

    def __init__(self) -> None:
        self._compared: dict[str, list[report.Row]] = {}  # "" when there is nothing to compare with
        self._calls: dict[str, dict[str, dict[str, float]]] = {}
        self._complaints: list[str] = []
        self._seconds = self._others = 0.0  # of the proxy's core: under load, and of it for others

    def add(self, scenario: Scenario, slices: dict[str, list[Slice]], baselines: list[str]) -> None:
        for baseline in baselines or [""]:
            self._compared.setdefault(baseline, []).extend(report.rows(scenario, slices, baseline))
        for part in (part for parts in slices.values() for part in parts):
            self._seconds += part.seconds
            self._others += part.others
        if isinstance(scenario, SystemCallsOfLogins):
            self._calls[f"System calls per {scenario.protocol.upper()} login"] = scenario.calls

    def complain(self, proxy: str, lines: list[str]) -> None:
        """Of what a proxy wrote to its error log although every session went well."""
        self._complaints.append(f"{proxy} wrote {len(lines)} lines to its error log, the first: {lines[0]}")

    def _closing(self) -> list[str]:
        """How quiet the machine was, then the complaints."""
        if not self._seconds:
            return self._complaints
        share = f"{self._others / self._seconds:.0%}"
        return [f"Others took {share} of the core's time while its proxy was under load.", *self._complaints]

    def text(self) -> str:
        parts = [report.text(report.figures_table(rows, name)) for name, rows in self._compared.items()]
        parts += [
            f"{title}\n{report.text(report.calls_table(calls))}" for title, calls in self._calls.items()
        ]
        return "\n\n".join(parts + self._closing())

    def markdown(self, head: list[tuple[str, str]]) -> str:
        parts = [
            "# Measurements",
            "Written by `perf/run`; `docs/performance.md` says what is measured and how.",
        ]
        parts.append("\n".join(f"- {name}: {value}" for name, value in head))
        for baseline, rows in self._compared.items():
            parts.append(f"## Compared with {baseline}" if baseline else "## Figures")
            parts.append(report.markdown(report.figures_table(rows, baseline)))
        for title, calls in self._calls.items():
            parts += [f"## {title}", report.markdown(report.calls_table(calls))]
        return "\n\n".join(parts + self._closing()) + "\n"

    def unlike(self) -> list[str]:
        """Costs whose ratio, interval and all, lies where that of two alike proxies cannot be."""
        low, high = ALIKE
        return [
            f"{row.figure.title}: {row.ratio.median:.3f}"
            for rows in self._compared.values()
            for row in rows
            if row.ratio and row.figure.is_cost and (row.ratio.low > high or row.ratio.high < low)
        ]
