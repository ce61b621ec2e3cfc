"""Plot of a latency model's predictions on held-out networks."""

from __future__ import annotations

from pathlib import Path

from core.files import atomic_path
from devices.latency.table import LatencyTable


def draw_held_out(table: LatencyTable, path: Path) -> None:
    """Scatter plot of predicted against measured milliseconds, one colour per precision.

    Equal tables give equal bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    values = [value for error in table.error.values() for pair in error.pairs for value in pair]
    low, high = min(values) * 0.9, max(values) * 1.1
    axes.plot([low, high], [low, high], color="0.6", linewidth=1)
    axes.fill_between(
        [low, high], [low * 0.9, high * 0.9], [low * 1.1, high * 1.1], color="0.92", label="±10%"
    )
    for precision, error in table.error.items():
        predicted, measured = zip(*error.pairs, strict=True)
        model = "blocks" if table.additive(precision) else "regression"
        label = f"{precision}: {error.mean:.1%} mean error ({model})"
        axes.scatter(measured, predicted, s=24, label=label, zorder=3)
    axes.set(
        xlim=(low, high),
        ylim=(low, high),
        xlabel="measured, ms per image",
        ylabel="predicted, ms per image",
        title=f"{table.device} ({table.backend}): held-out networks",
    )
    axes.legend()
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        # The default metadata contains matplotlib's version.
        figure.savefig(temporary, format="png", metadata={"Software": None})
