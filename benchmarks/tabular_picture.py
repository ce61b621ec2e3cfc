"""Accuracy of the answer against sampled architectures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.tabular_compare import Compared

_BELOW = 1.5
"""Points below the optimum where the picture ends."""


def picture(found: Sequence[Compared]) -> bytes:
    """One panel a setting: mean over the seeds, and one standard deviation around it."""
    figure = Figure(figsize=(11, 3.4 * -(-len(found) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(found) // 2), 2, squeeze=False).flat
    for axes, one in zip(panels, found, strict=False):
        for name, runs in one.runs.items():
            last = min(run.samples[-1] for run in runs)
            samples = np.arange(max(run.samples[0] for run in runs), last + 1)
            curves = np.array([[run.at(int(count)) for count in samples] for run in runs])
            mean, band = curves.mean(0), curves.std(0)
            (line,) = axes.plot(samples, mean, label=name, linewidth=1.2)
            axes.fill_between(samples, mean - band, mean + band, alpha=0.1, color=line.get_color())
        axes.axhline(one.best, color="black", linewidth=0.8, linestyle=":")
        axes.set_ylim(one.best - _BELOW, one.best + 0.1)
        axes.set_xlabel("sampled architectures")
        axes.set_ylabel("true accuracy of the answer (%)")
        axes.set_title(one.setting.name, fontsize=9)
    figure.axes[0].legend(fontsize=7, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()
