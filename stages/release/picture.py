"""The picture of a release: accuracy against measured latency, and what was not measured apart."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
MILLION = 1e6
MARKERS = {"float32": "o", "float16": "s", "int8": "D"}
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
Summary = Mapping[str, Any]


def draw(summaries: Mapping[str, Summary]) -> bytes:
    """The picture as PNG, the same bytes for the same summaries.

    Devices whose latency was measured stand in one panel over milliseconds; those where it was
    not stand in another over FLOPs, because a guess beside a measurement would look like one.

    Args:
        summaries: `bundle.json` by device.
    """
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(summaries)}
    measured = {n: s for n, s in summaries.items() if s["latency_ms"]["measured"] is not None}
    others = {n: s for n, s in summaries.items() if n not in measured}
    panels = [group for group in (measured, others) if group]
    count = max(len(panels), 1)
    with mpl.rc_context():
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(2.4 + 3.8 * count, 4.6), dpi=150)
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
        axes[0].set_ylabel("top-1 accuracy, test split")
        for panel, group in zip(axes, panels, strict=False):
            _panel(panel, group, colours, over_time=group is measured)
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low - 0.25 * (high - low), high + 0.05 * (high - low))
        figure.suptitle("Delivered models", x=0.02, ha="left", weight="bold")
        figure.legend(handles=_legend(summaries), loc="lower center", ncols=6, fontsize=8)
        figure.tight_layout(rect=(0, 0.06, 1, 1))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(
    axes: Axes, group: Mapping[str, Summary], colours: Mapping[str, str], over_time: bool
) -> None:
    for name, summary in group.items():
        if over_time:
            _alternatives(axes, summary, colours[name])
        _delivered(axes, name, summary, colours[name], over_time)
    axes.set_xlabel(
        "measured latency, ms per image" if over_time else "million FLOPs (latency not measured)"
    )
    axes.set_xlim(left=0)
    axes.set_xlim(right=axes.get_xlim()[1] * 1.12)


def _delivered(axes: Axes, name: str, summary: Summary, colour: str, over_time: bool) -> None:
    """The delivered model as a full marker with its name, and its device's budget as a line."""
    accuracy, budget = summary["accuracy"]["delivered"], summary["budget"]
    place = summary["latency_ms"]["measured"] if over_time else summary["costs"]["flops"] / MILLION
    limit = budget["latency_ms"] if over_time else budget["flops"]
    axes.plot(place, accuracy, MARKERS[summary["precision"]], color=colour, markersize=9)
    held = "" if summary["passed"] else "\nheld back"
    axes.annotate(
        f"{name}\n{accuracy:.3f}{held}",
        (place, accuracy),
        textcoords="offset points",
        xytext=(0, -10),
        ha="center",
        va="top",
        fontsize=8,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )
    if limit is None:
        return
    limit = limit if over_time else limit / MILLION
    axes.axvline(limit, color=colour, linestyle="--", linewidth=1.2)
    axes.annotate(
        f"budget {limit:g}",
        (limit, 0.99),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        xytext=(3, 0),
        rotation=90,
        ha="left",
        va="top",
        fontsize=8,
        color=colour,
    )


def _alternatives(axes: Axes, summary: Summary, colour: str) -> None:
    """The forms that were measured and not delivered, tied to the one that was.

    Forms of the delivered precision would lie on top of it.
    """
    here = summary["latency_ms"]["measured"], summary["accuracy"]["delivered"]
    for row in summary["candidates"]:
        if row["precision"] == summary["precision"] or row["latency_ms"] is None:
            continue
        there = row["latency_ms"], row["accuracy"]
        axes.plot(*zip(here, there, strict=True), color=colour, linewidth=0.8, alpha=0.5)
        marker = MARKERS[row["precision"]]
        axes.plot(*there, marker, color=colour, markerfacecolor="white", markersize=6)


def _legend(summaries: Mapping[str, Summary]) -> list[Line2D]:
    shown = {row["precision"] for s in summaries.values() for row in s["candidates"]}
    grey: dict[str, Any] = {"color": "#606060", "linestyle": ""}
    rows = [
        Line2D([], [], marker=marker, markersize=7, label=precision, **grey)
        for precision, marker in MARKERS.items()
        if precision in shown
    ]
    hollow = Line2D(
        [], [], marker="o", markerfacecolor="white", label="built, not delivered", **grey
    )
    budget = Line2D([], [], color="#606060", linestyle="--", label="budget")
    return [*rows, hollow, budget]
