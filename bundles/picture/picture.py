"""Release plot: accuracy against latency, or FLOPs for devices without measured latency."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bundles.picture.panel import MARKERS, Panel, Summary

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Colour-blind safe palette of Okabe and Ito."""
ROOMY = 5
"""Largest number of devices in a panel of normal size; larger panels grow."""
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


def draw(summaries: Mapping[str, Summary]) -> bytes:
    """Return the plot as PNG, deterministic for equal summaries.

    Args:
        summaries: `bundle.json` by device.
    """
    with mpl.rc_context():
        mpl.rcParams.update(STYLE)
        buffer = io.BytesIO()
        figure_of(summaries).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def figure_of(summaries: Mapping[str, Summary]) -> Figure:
    """Build the figure, not yet rendered.

    Devices with measured latency are plotted in one panel over milliseconds, the others in another
    panel over FLOPs.
    """
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(summaries)}
    measured = {n: s for n, s in summaries.items() if s["latency_ms"]["measured"] is not None}
    others = {n: s for n, s in summaries.items() if n not in measured}
    groups = [group for group in (measured, others) if group]
    count = max(len(groups), 1)
    side = 3.8 * max(1.0, max(map(len, groups), default=0) / ROOMY) ** 0.5
    figure = Figure(figsize=(2.4 + side * count, 0.8 + side), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    axes[0].set_ylabel("top-1 accuracy, test split")
    panels = [
        Panel(figure, panel, group, colours, over_time=group is measured)
        for panel, group in zip(axes, groups, strict=False)  # without devices one is empty
    ]
    for panel in panels:
        panel.draw()
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low - 0.2 * (high - low), high + 0.12 * (high - low))
    figure.suptitle("Delivered models", x=0.02, ha="left", weight="bold")
    figure.legend(handles=_legend(summaries), loc="lower center", ncols=6, fontsize=8)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    for panel in panels:  # needs the final layout
        panel.label()
    return figure


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
