"""A release: index of the bundles of all devices, and plot of accuracy against latency.

Devices without measured latency are plotted over FLOPs. Devices have numbered markers and a legend
beside the axes, so that no text lies over the data.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bundles.summary import BundleSummary, Release
from core.files import write_bytes

Summaries = Mapping[str, BundleSummary]
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#a07000", "#404040")
"""Colour-blind safe palette after Okabe and Ito, dark enough for white numbers."""
MARKERS = {"float32": "o", "float16": "s", "int8": "D"}
MILLION = 1e6
GREY = "#606060"
NEAR = 0.05
"""Distance of overlapping markers, as a share of the axes."""
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "axes.edgecolor": "#808080",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Released:
    """Summaries of the bundles, by device."""

    summaries: Summaries

    def write(self, out: Path) -> None:
        """Write `release.json` and `pareto.png`."""
        Release(devices={name: row.entry() for name, row in self.summaries.items()}).write(out)
        write_bytes(out / "pareto.png", draw(self.summaries))


def draw(summaries: Summaries) -> bytes:
    """Return the plot as PNG, deterministic for equal summaries."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure_of(summaries).savefig(
            buffer, format="png", bbox_inches="tight", metadata={"Software": None}
        )
    return buffer.getvalue()


def figure_of(summaries: Summaries) -> Figure:
    """Build the figure, not yet rendered: a panel over milliseconds, and one over FLOPs."""
    measured = {n: row for n, row in summaries.items() if row.latency_ms.measured is not None}
    others = {n: row for n, row in summaries.items() if n not in measured}
    groups = [group for group in (measured, others) if group] or [measured]
    numbers = {name: number for number, name in enumerate(summaries, start=1)}
    figure = Figure(figsize=(4.2 * len(groups) + 3.2, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    panels = [
        _Panel(axis, group, numbers, over_time=group is measured)
        for axis, group in zip(axes, groups, strict=True)
    ]
    for panel in panels:
        panel.draw()
    axes[0].set_ylabel("top-1 accuracy, test split")
    axes[0].margins(0.12)
    for panel in panels:  # needs the final ranges
        panel.number_markers()
    figure.suptitle("Delivered models", x=0.02, ha="left", weight="bold")
    handles = [*_devices(summaries, numbers), *_meanings(summaries)]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    return figure


@dataclass(frozen=True)
class _Panel:
    """Some devices over measured milliseconds (`over_time`), or over million FLOPs."""

    axes: Axes
    group: Summaries
    numbers: Mapping[str, int]
    over_time: bool

    def draw(self) -> None:
        """Draw candidates, delivered models and budgets."""
        for name, row in self.group.items():
            colour, place = _colour(self.numbers[name]), self._place(row)
            for other in row.candidates:
                # Measured candidates of other precisions.
                ms = other.latency_ms if self.over_time else None
                if ms is not None and other.precision != row.precision:
                    ends = zip(place, (ms, other.accuracy), strict=True)
                    self.axes.plot(*ends, color=colour, lw=0.8, alpha=0.5)
                    self.axes.plot(
                        ms, other.accuracy, MARKERS[other.precision], color=colour,
                        markerfacecolor="white", markersize=6, zorder=3,
                    )  # fmt: skip
            self.axes.plot(
                *place, MARKERS[row.precision], color=colour, markeredgecolor="white",
                markersize=14, zorder=5,
            )  # fmt: skip
            flops = None if row.budget.flops is None else row.budget.flops / MILLION
            limit = row.budget.latency_ms if self.over_time else flops
            if limit is not None:
                self.axes.axvline(limit, color=colour, linestyle="--", linewidth=1.2)
        self.axes.set_xlabel(
            "measured latency, ms per image"
            if self.over_time
            else "million FLOPs (latency not measured)"
        )
        self.axes.set_xlim(0, 1.04 * self.axes.get_xlim()[1])

    def number_markers(self) -> None:
        """Write the devices' numbers into their markers, or above markers that overlap."""
        places = {name: self._place(row) for name, row in self.group.items()}
        spans = [high - low for low, high in (self.axes.get_xlim(), self.axes.get_ylim())]
        for names in _clusters(places, spans):
            text = ", ".join(str(self.numbers[name]) for name in names)
            alone = len(names) == 1
            self.axes.annotate(
                text, places[names[0]], (0, 0 if alone else 12), textcoords="offset points",
                color="white" if alone else "#202020", weight="bold", fontsize=8,
                zorder=6, ha="center", va="center_baseline",
            )  # fmt: skip

    def _place(self, row: BundleSummary) -> tuple[float, float]:
        """Return the data coordinates of a delivered model."""
        measured = row.latency_ms.measured if self.over_time else None
        cost = row.costs.flops / MILLION if measured is None else measured
        return cost, row.accuracy.delivered


def _clusters(places: Mapping[str, tuple[float, float]], spans: Sequence[float]) -> list[list[str]]:
    """Group devices whose markers overlap, such as those that share a network."""
    clusters: list[list[str]] = []
    for name, place in places.items():
        for cluster in clusters:
            first = places[cluster[0]]
            gaps = [abs(a - b) / span for a, b, span in zip(first, place, spans, strict=True)]
            if max(gaps) < NEAR:
                cluster.append(name)
                break
        else:
            clusters.append([name])
    return clusters


def _devices(summaries: Summaries, numbers: Mapping[str, int]) -> Iterator[Line2D]:
    """Yield the legend's entry of each device."""
    for name, row in summaries.items():
        measured = row.latency_ms.measured
        cost = (
            f"{row.costs.flops / MILLION:.3g} MFLOPs" if measured is None else f"{measured:.3g} ms"
        )
        held = ", held back" if not row.passed else ""
        label = f"{numbers[name]}  {name}: {row.accuracy.delivered:.3f}, {cost}{held}"
        yield Line2D(
            [], [], marker=MARKERS[row.precision], color=_colour(numbers[name]), linestyle="",
            markersize=8, label=label,
        )  # fmt: skip


def _meanings(summaries: Summaries) -> Iterator[Line2D]:
    """Yield the legend's entries of marker shapes and lines."""
    shown = {row.precision for row in summaries.values()}
    shown |= {other.precision for row in summaries.values() for other in row.candidates}
    grey: dict[str, Any] = {"color": GREY, "linestyle": ""}
    for precision, marker in MARKERS.items():
        if precision in shown:
            yield Line2D([], [], marker=marker, markersize=7, label=precision, **grey)
    yield Line2D([], [], marker="o", markerfacecolor="white", label="not delivered", **grey)
    yield Line2D([], [], color=GREY, linestyle="--", label="budget of the device")


def _colour(number: int) -> str:
    return COLOURS[(number - 1) % len(COLOURS)]
