"""The picture of a release: accuracy against measured latency, and what was not measured apart."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
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
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 4.2 * max(len(panels), 1), 4.4), dpi=150)
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
        for panel, group in zip(axes, panels, strict=False):
            _panel(panel, group, colours, over_time=group is measured)
        figure.suptitle("Accuracy of the delivered models", x=0.02, ha="left", weight="bold")
        figure.tight_layout()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(
    axes: Axes, group: Mapping[str, Summary], colours: Mapping[str, str], over_time: bool
) -> None:
    for name, summary in group.items():
        _device(axes, name, summary, colours[name], over_time)
    axes.set_ylabel("top-1 accuracy, test split")
    axes.set_xlabel(
        "measured latency, ms per image" if over_time else "million FLOPs (latency not measured)"
    )
    axes.set_xlim(left=0)
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * 1.08)
    axes.margins(y=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), fontsize=8, borderaxespad=0)


def _device(axes: Axes, name: str, summary: Summary, colour: str, over_time: bool) -> None:
    """The delivered model as a full marker, what else was built as hollow ones, and the budget."""
    accuracy, precision = summary["accuracy"]["delivered"], summary["precision"]
    budget = summary["budget"]["latency_ms" if over_time else "flops"]
    scale = 1.0 if over_time else 1e-6
    place = summary["latency_ms"]["measured"] if over_time else summary["costs"]["flops"] * scale
    if over_time:
        for row in summary["candidates"]:
            if row["precision"] != precision and row["latency_ms"] is not None:
                axes.plot(
                    [row["latency_ms"], place],
                    [row["accuracy"], accuracy],
                    color=colour,
                    linewidth=0.8,
                    alpha=0.5,
                )
                axes.plot(
                    row["latency_ms"],
                    row["accuracy"],
                    MARKERS[row["precision"]],
                    color=colour,
                    markerfacecolor="white",
                    markersize=6,
                )
    held = "" if summary["passed"] else ", held back by the gate"
    axes.plot(
        place,
        accuracy,
        MARKERS[precision],
        color=colour,
        markersize=9,
        label=f"{name}: {precision}{held}",
    )
    axes.annotate(
        f"{accuracy:.3f}",
        (place, accuracy),
        textcoords="offset points",
        xytext=(0, 9),
        ha="center",
        fontsize=8,
        color=colour,
    )
    if budget is not None:
        unit = "ms" if over_time else "MFLOPs"
        axes.axvline(
            budget * scale,
            color=colour,
            linestyle="--",
            linewidth=1.2,
            label=f"{name}: budget {budget * scale:g} {unit}",
        )
