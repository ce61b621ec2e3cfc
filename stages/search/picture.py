"""`search.png`: what was evaluated, how the distribution sharpened, and what it became."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.architecture import Architecture
from models.distribution import Distribution
from models.space import SearchSpace
from stages.common.budgets import Limit
from stages.search.loop import Row

UNITS = {
    "latency_ms": "predicted latency (ms)",
    "flops": "multiply-accumulates",
    "parameters": "parameters",
}


def search_png(
    rows: Sequence[Row],
    space: SearchSpace,
    distribution: Distribution,
    costs: Callable[[Architecture], dict[str, float | None]],
    limits: Sequence[Limit],
) -> bytes:
    """Draw the search; the same search gives the same bytes."""
    # No pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(15, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    scatter, curves, heat = figure.subplots(1, 3, width_ratios=[1.1, 1, 1.4])
    _scatter(scatter, rows, space, costs, limits)
    _curves(curves, rows)
    _heat_map(heat, space, distribution)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _scatter(
    axes: Axes,
    rows: Sequence[Row],
    space: SearchSpace,
    costs: Callable[[Architecture], dict[str, float | None]],
    limits: Sequence[Limit],
) -> None:
    """Held-out NLL against the first budget's cost, coloured by step."""
    budgets = {limit.key: limit.budget for limit in limits if limit.key in UNITS}
    key = next(iter(budgets), "flops")
    architectures = [space.architecture([int(w) for w in row.choices.split()]) for row in rows]
    cost = [costs(architecture)[key] or 0.0 for architecture in architectures]
    points = axes.scatter(cost, [r.nll for r in rows], c=[r.step for r in rows], s=14)
    axes.figure.colorbar(points, ax=axes, label="step")
    if key in budgets:
        axes.axvline(budgets[key], color="crimson", linestyle="--", label="budget")
        axes.legend()
    axes.set(xlabel=UNITS[key], ylabel="held-out NLL (nats)", title="evaluated architectures")


def _curves(axes: Axes, rows: Sequence[Row]) -> None:
    """Entropy and samples per step."""
    by_step = {row.step: row for row in rows}
    entropy = [row.entropy for row in by_step.values()]
    axes.plot(list(by_step), entropy, color="tab:blue")
    axes.set(xlabel="step", ylabel="entropy (nats)", title=f"{len(rows)} architectures sampled")
    axes.set_ylim(bottom=0)
    samples = axes.twinx()
    counts = [row.samples for row in by_step.values()]
    samples.step(list(by_step), counts, color="tab:orange", where="mid")
    samples.set_ylabel("samples per step", color="tab:orange")
    samples.set_ylim(bottom=0)


def _heat_map(axes: Axes, space: SearchSpace, distribution: Distribution) -> None:
    """The probability of every candidate of every group."""
    table = distribution.log_probabilities
    grid = np.full((len(table), max(map(len, table))), np.nan)
    for number, group in enumerate(table):
        grid[number, : len(group)] = np.exp(group)
    image = axes.imshow(grid, vmin=0, vmax=1, aspect="auto", cmap="viridis")
    axes.figure.colorbar(image, ax=axes, label="probability")
    axes.set_yticks(range(len(table)), [group.name for group in space.groups], fontsize=7)
    axes.set_xticks(range(grid.shape[1]))
    axes.set(xlabel="candidate", title=f"final distribution ({distribution.form})")
