"""Plot of a predictor's feature contributions and of predicted against measured values."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.predict.cross_validation import Explained

MOST_BARS = 30
_WIDTH = 46
"""Characters per line of a feature's name."""


def predictor_png(explained: Explained, label: Callable[[str], str] = str) -> bytes:
    """Draw a predictor; equal predictors give equal bytes. `label` shortens a feature's name."""
    height = max(4.8, 0.24 * min(len(explained.added), MOST_BARS) + 1.6)
    # No pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(13, height), layout="constrained")
    FigureCanvasAgg(figure)
    bars, scatter = figure.subplots(1, 2, width_ratios=[1.2, 1])
    _bars(bars, explained, label)
    _scatter(scatter, explained)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _bars(axes: Axes, explained: Explained, label: Callable[[str], str]) -> None:
    """R2 of each feature alone and R2 lost without it, largest loss first."""
    added = explained.added
    shown = sorted(added, key=lambda name: -added[name].lost)[:MOST_BARS]
    places = np.arange(len(shown))[::-1]
    alone = [max(0.0, added[name].alone) for name in shown]
    axes.barh(places, alone, color="0.85", label="R2 by the feature alone")
    lost = [added[name].lost for name in shown]
    axes.barh(places, lost, height=0.45, color="tab:blue", label="R2 lost without it")
    axes.axvline(0, color="0.4", linewidth=0.8)
    names = [textwrap.fill(label(name), _WIDTH, max_lines=2) for name in shown]
    axes.set_yticks(places, names, fontsize=7 if any("\n" in name for name in names) else 10)
    rest = len(explained.predictor.features) - len(shown)
    more = f", {len(shown)} of {len(shown) + rest}" if rest else ""
    axes.margins(y=0.01)
    axes.set(xlabel="share of variance, on rows not seen", title=f"what each feature adds{more}")
    axes.legend(loc="lower right")


def _scatter(axes: Axes, explained: Explained) -> None:
    """Predicted against true."""
    both_N = np.concatenate([explained.true_N, explained.predicted_N])
    ends = [float(both_N.min()), float(both_N.max())]
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.scatter(explained.true_N, explained.predicted_N, s=12, alpha=0.7)
    error, predictor = explained.error, explained.predictor
    r2 = "-" if error.r2 is None else f"{error.r2:.3f}"
    off = "-" if error.relative is None else f"{error.relative:.1%}"
    unit = f" ({predictor.unit})" if predictor.unit else ""
    axes.set(
        xlabel=f"{predictor.target}{unit}, as measured",
        ylabel="predicted without its fold",
        title=f"R2 {r2}, mean relative error {off}",
    )
