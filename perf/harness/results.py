"""All that a run has found, as text, as Markdown, for the plots, and as the harness's check of itself."""

from collections.abc import Sequence
from typing import Any

from . import plotdata, report
from .bench import Measured
from .figures import Against
from .logins import Logins, SystemCallsOfLogins

ALIKE = (0.95, 1.05)  # where the ratio of a proxy to itself has to lie


class Results:
    """Everything that was measured; compared with each of ``baselines``."""

    def __init__(self, baselines: Sequence[str], proxies: Sequence[str]) -> None:
        self._baselines = baselines
        self._several = len(proxies) - (1 if baselines else 0) > 1
        self._measured: list[Measured] = []
        self._complaints: list[str] = []

    def add(self, measured: Measured) -> None:
        self._measured.append(measured)

    def complain(self, proxy: str, lines: list[str]) -> None:
        """Of what a proxy wrote to its error log although every session went well."""
        self._complaints.append(f"{proxy} wrote {len(lines)} lines to its error log, the first: {lines[0]}")

    def rows(self, baseline: str) -> list[report.Row]:
        return [
            row
            for measured in self._measured
            for row in report.rows(measured.scenario.figures, measured.slices, baseline)
        ]

    def _sections(self) -> list[tuple[str, list[list[str]]]]:
        """Titles and tables, those without a row left out."""
        found = []
        for baseline in self._baselines:
            rows = self.rows(baseline)
            table = report.nginx_table(rows, baseline, self._several)
            found.append((f"Compared with {baseline}", table))
            table = report.shown_table(rows, baseline, self._several)
            found.append((f"Beside {baseline}, with nothing asked", table))
        every = self.rows("")
        found.append(("Compared with itself", report.own_table(every)))
        logins = {m.scenario.title: m.slices for m in self._measured if isinstance(m.scenario, Logins)}
        found.append(("User code and kernel", report.user_table(logins)))
        for measured in self._measured:
            if isinstance(measured.scenario, SystemCallsOfLogins):
                title = f"System calls per {measured.scenario.protocol.upper()} login, by name"
                found.append((title, report.calls_table(measured.scenario.calls)))
        found.append(("Medians and spread", report.spread_table(every)))
        return [(title, table) for title, table in found if len(table) > 1]

    def _closing(self) -> list[str]:
        """How quiet the machine was, then the complaints."""
        parts = [
            part
            for measured in self._measured
            for parts in measured.slices.values()
            for part in parts
            if part.others is not None
        ]
        if not parts:
            return self._complaints
        others = sum(part.others or 0 for part in parts)
        share = f"{max(0.0, others) / sum(part.seconds for part in parts):.0%}"
        return [f"Others took {share} of the core's time while its proxy was under load.", *self._complaints]

    def text(self) -> str:
        parts = [f"{title}\n\n{report.text(table)}" for title, table in self._sections()]
        return "\n\n".join(parts + self._closing())

    def markdown(self, head: Sequence[tuple[str, str]], plots: Sequence[tuple[str, str]]) -> str:
        """``plots`` are file names and what they show."""
        parts = [
            "# Measurements",
            "Written by `perf/run`; [docs/performance.md](../docs/performance.md) says what is measured.",
            "\n".join(f"- {name}: {value}" for name, value in head),
            *(f"![{shown}]({name})" for name, shown in plots),
        ]
        for title, table in self._sections():
            parts += [f"## {title}", report.markdown(table)]
        return "\n\n".join(parts + self._closing()) + "\n"

    def data(self) -> dict[str, Any]:
        """What the plots are drawn from."""
        baseline = self._baselines[0] if self._baselines else ""
        return {
            "baseline": baseline,
            "ratios": plotdata.bars(self.rows(baseline)),
            "crowd": plotdata.crowd(self._measured),
            "latencies": plotdata.latencies(self._measured),
        }

    def unlike(self) -> list[str]:
        """Figures whose ratio, interval and all, lies where that of two alike proxies cannot be."""
        low, high = ALIKE
        return [
            f"{row.figure.title}: {row.ratio.median:.3f}"
            for baseline in self._baselines
            for row in self.rows(baseline)
            if row.ratio and row.figure.against is Against.NGINX
            and not row.figure.elapsed and (row.ratio.low > high or row.ratio.high < low)
        ]  # fmt: skip
