"""The results as pictures: ratios, cost against idle sessions, latencies. To be read 800 pixels wide."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from .figures import is_fastmail

DPI = 125
WIDTH = 8.0  # inches: 1000 pixels, sharp when shown at 800
COLOURS = {"fastmail": "#1565c0", "nginx": "#8a8a8a"}
REACH, GOAL = "#c62828", "#2e7d32"
WORST = 1.3  # ratios beyond it end at the edge, with their number

pyplot.rcParams.update({
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11,
    "axes.titleweight": "bold", "axes.titlelocation": "left",
})  # fmt: skip


def draw(data: dict[str, Any], directory: Path) -> list[tuple[str, str]]:
    """Writes the pictures for which there is data; their file names and what they show."""
    found = []
    if data["ratios"]:
        _save(_ratios(data["ratios"], data["baseline"]), directory / "ratios.png")
        found.append(("ratios.png", "Each figure as a ratio, with what is to be reached and the goal"))
    if data["crowd"]:
        _save(_crowd(data["crowd"]), directory / "idle-sessions.png")
        found.append(("idle-sessions.png", "Processor time per login against the number of idle sessions"))
    if data["latencies"]:
        _save(_latencies(data["latencies"]), directory / "latencies.png")
        found.append(("latencies.png", "Latencies of logins and exchanges, by how many stayed within them"))
    return found


def _save(figure: Figure, path: Path) -> None:
    """In few colours, which makes a small file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    pyplot.close(figure)
    Image.open(buffer).convert("RGB").quantize(64).save(path, optimize=True)


def _colour(proxy: str) -> str:
    return COLOURS["fastmail" if is_fastmail(proxy) else "nginx"]


def _style(proxy: str, proxies: Sequence[str]) -> dict[str, Any]:
    """Those of one kind are told apart by their lines."""
    alike = [other for other in proxies if _colour(other) == _colour(proxy)]
    line = ("-", "--", ":", "-.")[alike.index(proxy) % 4]
    return {"color": _colour(proxy), "linestyle": line, "label": proxy}


def _ratios(bars: Sequence[dict[str, Any]], baseline: str) -> Figure:
    groups = [
        (f"Times {baseline}: less is better", [bar for bar in bars if bar["against"] == "NGINX"]),
        ("Times its own, or the number itself", [bar for bar in bars if bar["against"] != "NGINX"]),
    ]
    groups = [(title, group) for title, group in groups if group]
    heights = [len(group) + 1.2 for _, group in groups]
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(WIDTH, 0.9 + 0.27 * sum(heights)), squeeze=False, sharex=True,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for axis, (title, group) in zip(axes[:, 0], groups, strict=True):
        _bars(axis, group)
        axis.set_title(title)
    handles = [
        Line2D([], [], color=REACH, linewidth=2, label="reach"),
        Line2D([], [], color=GOAL, linewidth=2, label="goal"),
        Line2D([], [], color="black", linewidth=1, label="95 % interval"),
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=3, frameon=False)
    return figure


def _bars(axis: Axes, group: Sequence[dict[str, Any]]) -> None:
    several = len({bar["proxy"] for bar in group}) > 1
    for place, bar in enumerate(group):
        shown = min(bar["median"], WORST)
        axis.barh(place, shown, height=0.62, color=_colour(bar["proxy"]), alpha=0.85)
        axis.plot(
            [min(bar["low"], WORST), min(bar["high"], WORST)], [place, place], color="black", linewidth=1
        )
        axis.vlines(bar["reach"], place - 0.42, place + 0.42, color=REACH, linewidth=2)
        axis.vlines(bar["goal"], place - 0.42, place + 0.42, color=GOAL, linewidth=2)
        axis.text(WORST + 0.02, place, f"{bar['median']:.2f}", va="center", ha="left")
    names = [bar["title"] + (f" ({bar['proxy']})" if several else "") for bar in group]
    axis.set_yticks(range(len(group)), [name[0].upper() + name[1:] for name in names], fontsize=8.5)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(group) - 0.4, -0.6)
    axis.set_xlim(0, WORST)
    axis.axvline(1, color="#444444", linewidth=0.8, linestyle=":", zorder=0)


def _crowd(crowd: dict[str, list[list[float]]]) -> Figure:
    figure, axis = pyplot.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    for proxy, points in crowd.items():
        sessions, costs, low, high = zip(*points, strict=True)
        axis.plot(sessions, costs, marker="o", **_style(proxy, list(crowd)))
        axis.fill_between(sessions, low, high, color=_colour(proxy), alpha=0.2, linewidth=0)
        axis.annotate(f"{costs[-1]:.0f} µs", (sessions[-1], costs[-1]), (6, 0), textcoords="offset points",
                      va="center", color=_colour(proxy))  # fmt: skip
    axis.set_ylim(bottom=0)
    axis.set_xlabel("idle sessions held")
    axis.set_ylabel("µs per IMAP login")
    axis.set_title("Processor time per login")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.legend(frameon=False, loc="lower right")
    return figure


def _latencies(curves: dict[str, dict[str, list[list[float]]]]) -> Figure:
    """Latency by fraction, the slowest ones drawn out: 90, 99 and 99.9 % are equally far apart."""
    columns = 2 if len(curves) > 1 else 1
    rows = math.ceil(len(curves) / columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(WIDTH, 2.5 * rows + 0.4), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis, (title, proxies) in zip(axes.flat, curves.items(), strict=False):
        highest = 0.0
        for proxy, points in proxies.items():
            within = [
                (-math.log10(1 - fraction), us / 1e3) for fraction, us in points if 0 < fraction < 0.9991
            ]
            axis.plot(*zip(*within, strict=True), **_style(proxy, list(proxies)))
            highest = max(highest, max(ms for _, ms in within) / within[49][1])
        axis.set_title(title[0].upper() + title[1:], fontsize=9.5)
        ticks = {"0": 0, "50": 0.5, "90": 0.9, "99": 0.99, "99.9 %": 0.999}
        axis.set_xticks([-math.log10(1 - fraction) for fraction in ticks.values()], list(ticks))
        axis.set_xlim(0, 3)
        if highest > 10:  # times the median: on a linear scale nothing else would be seen
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            axis.set_ylim(bottom=0)
        axis.set_ylabel("ms")
        axis.grid(axis="y", color="#e0e0e0", linewidth=0.6)
    figure.supxlabel("share that took no longer", fontsize=10)
    lines: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(lines.values()), list(lines), loc="outside upper center", ncols=len(lines), frameon=False
    )
    return figure
