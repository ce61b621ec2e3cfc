"""What each feature of a predictor adds, and its predictions beside the truth, as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.predictor_judge import Added, Error
from models.predictors import Values

MOST_BARS = 30


def predictor_png(
    target: str, true_N: Values, predicted_N: Values, error: Error, added: Mapping[str, Added]
) -> bytes:
    """Draw a predictor; equal numbers give equal bytes.

    Args:
        target: what is predicted.
        true_N: the targets.
        predicted_N: of the same examples, each predicted without its fold.
        error: of these predictions.
        added: what each feature adds.
    """
    shown = sorted(added, key=lambda name: -added[name].lost)[:MOST_BARS]
    # No pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(13, max(4.8, 0.24 * len(shown) + 1.6)), layout="constrained")
    FigureCanvasAgg(figure)
    bars, scatter = figure.subplots(1, 2, width_ratios=[1.2, 1])
    places = np.arange(len(shown))[::-1]
    alone = [max(0.0, added[name].alone) for name in shown]
    bars.barh(places, alone, color="0.85", label="R2 by the feature alone")
    bars.barh(
        places,
        [added[name].lost for name in shown],
        height=0.45,
        color="tab:blue",
        label="R2 lost without it",
    )
    bars.axvline(0, color="0.4", linewidth=0.8)
    bars.set_yticks(places, [name if len(name) < 33 else name[:30] + "..." for name in shown])
    rest = len(added) - len(shown)
    more = f", the {len(shown)} first of {len(added)}" if rest else ""
    bars.set(xlabel="share of variance, on rows not seen", title=f"what each feature adds{more}")
    bars.legend(loc="lower right")
    low, high = (
        float(min(true_N.min(), predicted_N.min())),
        float(max(true_N.max(), predicted_N.max())),
    )
    scatter.plot([low, high], [low, high], color="0.6", linewidth=1)
    scatter.scatter(true_N, predicted_N, s=12, alpha=0.7)
    r2 = "-" if error.r2 is None else f"{error.r2:.3f}"
    off = "-" if error.relative is None else f"{error.relative:.1%}"
    scatter.set(
        xlabel=f"{target}, as measured",
        ylabel="predicted without its fold",
        title=f"R2 {r2}, mean relative error {off}",
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
