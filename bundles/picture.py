"""Release plot: accuracy against latency, or FLOPs for devices without measured latency.

Devices have numbered markers and a legend beside the axes, so that no text lies over the data.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bundles.summary import BundleSummary

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


def draw(summaries: Summaries) -> bytes:
    """Return the plot as PNG, deterministic for equal summaries.

    Args:
        summaries: summaries of the bundles by device.
    """
    with mpl.rc_context():
        mpl.rcParams.update(STYLE)
        buffer = io.BytesIO()
        figure_of(summaries).savefig(
            buffer, format="png", bbox_inches="tight", metadata={"Software": None}
        )
    return buffer.getvalue()


def figure_of(summaries: Summaries) -> Figure:
    """Build the figure, not yet rendered.

    Devices with measured latency are plotted in one panel over milliseconds, the others in another
    panel over FLOPs.
    """
    measured = {n: row for n, row in summaries.items() if row.latency_ms.measured is not None}
    others = {n: row for n, row in summaries.items() if n not in measured}
    groups = [group for group in (measured, others) if group] or [measured]
    numbers = {name: number for number, name in enumerate(summaries, start=1)}
    figure = Figure(figsize=(4.2 * len(groups) + 3.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups, strict=True):
        _draw_panel(axes, group, numbers, over_time=group is measured)
    panels[0].set_ylabel("top-1 accuracy, test split")
    panels[0].margins(0.12)
    for axes, group in zip(panels, groups, strict=True):  # needs the final ranges
        _number_markers(axes, group, numbers, over_time=group is measured)
    figure.suptitle("Delivered models", x=0.02, ha="left", weight="bold")
    handles = [*_devices(summaries, numbers), *_meanings(summaries)]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    return figure


def _draw_panel(
    axes: Axes, group: Summaries, numbers: Mapping[str, int], *, over_time: bool
) -> None:
    """Draw candidates, delivered models and budgets of some devices."""
    for name, row in group.items():
        colour = _colour(numbers[name])
        place = _place(row, over_time)
        for other in _others(row, over_time):
            axes.plot(*zip(place, other[:2], strict=True), color=colour, lw=0.8, alpha=0.5)
            mark = axes.plot(*other[:2], MARKERS[other[2]], color=colour, zorder=3)[0]
            mark.set(markerfacecolor="white", markersize=6)
        axes.plot(*place, MARKERS[row.precision], color=colour, markersize=14, zorder=5)[0].set(
            markeredgecolor="white"
        )
        limit = row.budget.latency_ms if over_time else row.budget.flops
        if limit is not None:
            axes.axvline(
                limit if over_time else limit / MILLION, color=colour, linestyle="--", linewidth=1.2
            )
    axes.set_xlabel(
        "measured latency, ms per image" if over_time else "million FLOPs (latency not measured)"
    )
    axes.set_xlim(0, 1.04 * axes.get_xlim()[1])


def _number_markers(
    axes: Axes, group: Summaries, numbers: Mapping[str, int], *, over_time: bool
) -> None:
    """Write the devices' numbers into their markers, or above markers that overlap."""
    places = {name: _place(row, over_time) for name, row in group.items()}
    spans = [high - low for low, high in (axes.get_xlim(), axes.get_ylim())]
    for names in _clusters(places, spans):
        text, (x, y) = ", ".join(str(numbers[name]) for name in names), places[names[0]]
        alone = len(names) == 1
        axes.annotate(
            text, (x, y), (0, 0) if alone else (0, 12), textcoords="offset points",
            color="white" if alone else "#202020", weight="bold", fontsize=8,
            zorder=6, ha="center", va="center_baseline",
        )  # fmt: skip


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


def _place(row: BundleSummary, over_time: bool) -> tuple[float, float]:
    """Return the data coordinates of a delivered model."""
    measured = row.latency_ms.measured
    cost = measured if over_time and measured is not None else row.costs.flops / MILLION
    return cost, row.accuracy.delivered


def _others(row: BundleSummary, over_time: bool) -> Iterator[tuple[float, float, str]]:
    """Yield latency, accuracy and precision of the measured candidates of other precisions."""
    for other in row.candidates:
        if over_time and other.precision != row.precision and other.latency_ms is not None:
            yield other.latency_ms, other.accuracy, other.precision


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
