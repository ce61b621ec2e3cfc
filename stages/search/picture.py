"""`search.png`: what was evaluated, how the search went on, and what it settled on.

An algorithm with a distribution shows its entropy, its samples and its probabilities; another one
the best value so far and how its population shares out the candidates.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.architecture import Architecture
from models.space import SearchSpace
from stages.common.budgets import Limit
from stages.search.algorithms import Algorithm
from stages.search.loop import Row

UNITS = {
    "latency_ms": "predicted latency (ms)",
    "flops": "multiply-accumulates",
    "parameters": "parameters",
    "size_mb": "weights (MB)",
    "memory_mb": "peak activation memory (MB)",
}


def search_png(
    rows: Sequence[Row],
    space: SearchSpace,
    searched: Algorithm,
    costs: Callable[[Architecture], dict[str, float | None]],
    limits: Sequence[Limit],
) -> bytes:
    """Draw the search; the same search gives the same bytes."""
    # No pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(15, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    scatter, curves, heat = figure.subplots(1, 3, width_ratios=[1.1, 1, 1.4])
    _scatter(scatter, rows, space, costs, limits)
    if searched.distribution is None:
        _best_so_far(curves, rows)
    else:
        _entropy(curves, rows)
    _heat_map(heat, space, searched)
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
    """What is minimised against the first budget's cost, coloured by step."""
    budgets = {limit.key: limit.budget for limit in limits if limit.key in UNITS}
    key = next(iter(budgets), "flops")
    architectures = [space.architecture([int(w) for w in row.choices.split()]) for row in rows]
    cost = [costs(architecture)[key] or 0.0 for architecture in architectures]
    points = axes.scatter(cost, [r.value for r in rows], c=[r.step for r in rows], s=14)
    axes.figure.colorbar(points, ax=axes, label="step")
    if key in budgets:
        axes.axvline(budgets[key], color="crimson", linestyle="--", label="budget")
        axes.legend()
    axes.set(xlabel=UNITS[key], ylabel=_meaning(rows), title="evaluated architectures")


def _meaning(rows: Sequence[Row]) -> str:
    return "held-out NLL (nats)" if rows[0].nll is not None else "negative BN indicator"


def _best_so_far(axes: Axes, rows: Sequence[Row]) -> None:
    """The best value within the budgets after each evaluated architecture, and all values."""
    within = [row.value if row.excess <= 0 else np.inf for row in rows]
    axes.scatter(range(1, len(rows) + 1), [row.value for row in rows], s=8, color="0.75")
    axes.step(range(1, len(rows) + 1), np.minimum.accumulate(within), where="post")
    axes.set(
        xlabel="architectures evaluated",
        ylabel=_meaning(rows),
        title=f"best so far of {len(rows)} architectures",
    )


def _entropy(axes: Axes, rows: Sequence[Row]) -> None:
    """Entropy and samples per step."""
    by_step = {row.step: row for row in rows}
    entropy = [row.entropy or 0.0 for row in by_step.values()]
    axes.plot(list(by_step), entropy, color="tab:blue")
    axes.set(xlabel="step", ylabel="entropy (nats)", title=f"{len(rows)} architectures sampled")
    axes.set_ylim(bottom=0)
    samples = axes.twinx()
    counts = [row.samples for row in by_step.values()]
    samples.step(list(by_step), counts, color="tab:orange", where="mid")
    samples.set_ylabel("samples per step", color="tab:orange")
    samples.set_ylim(bottom=0)


def _heat_map(axes: Axes, space: SearchSpace, searched: Algorithm) -> None:
    """How likely, or how frequent in the population, every candidate of every group is."""
    table, distribution = searched.shares(), searched.distribution
    grid = np.full((len(table), max(map(len, table))), np.nan)
    for number, group in enumerate(table):
        grid[number, : len(group)] = group
    image = axes.imshow(grid, vmin=0, vmax=1, aspect="auto", cmap="viridis")
    drawn = distribution is not None
    axes.figure.colorbar(image, ax=axes, label="probability" if drawn else "share")
    axes.set_yticks(range(len(table)), [group.name for group in space.groups], fontsize=7)
    axes.set_xticks(range(grid.shape[1]))
    form = f"final distribution ({distribution.form})" if distribution else "final population"
    axes.set(xlabel="candidate", title=form)
