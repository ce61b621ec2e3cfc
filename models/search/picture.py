"""`search.png`: evaluated architectures, progress of the search, and its final state.

Evaluated architectures are plotted as accuracy over cost with their Pareto front; a search without
images shows its indicator. An algorithm with a distribution shows its entropy, samples and
probabilities; others show the best so far and the option frequencies of the population.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.search.algorithms import Algorithm
from models.search.heat_map import HeatMap, draw
from models.search.loop import Row
from models.space.architecture import Architecture
from models.space.distribution import Distribution, Vector
from models.space.limits import UNITS, Limit
from models.space.space import SearchSpace

_LEFT = 6.4
"""Width in inches of the left column: evaluated architectures and progress."""


def search_png(
    rows: Sequence[Row],
    space: SearchSpace,
    algorithm: Algorithm,
    costs: Callable[[Architecture], dict[str, float | None]],
    limits: Sequence[Limit],
) -> bytes:
    """Draw the search's steps, without the shortlist; the same search gives the same bytes."""
    rows = [row for row in rows if row.weight is not None]
    # No pyplot: it keeps global state and looks for a display.
    heat = HeatMap.of(space.groups, algorithm.shares())
    width, height = heat.size
    figure = Figure(figsize=(_LEFT + width, height), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[_LEFT, width])[0]
    scatter, curves = left.subplots(2, 1)
    shown = Shown.of(rows, algorithm)
    _scatter(scatter, rows, shown, space, costs, limits)
    if algorithm.distribution is None:
        _best_so_far(curves, rows, shown)
    else:
        _entropy(curves, rows)
    _final(right.subplots(), heat, algorithm.distribution)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class Shown:
    """The plotted value of every evaluated architecture; higher is better."""

    values_N: Vector
    """Held-out accuracies; the indicator if no images were evaluated."""
    meaning: str

    @classmethod
    def of(cls, rows: Sequence[Row], algorithm: Algorithm) -> Shown:
        """Select the plotted value of the rows."""
        accuracies = [row.accuracy for row in rows if row.accuracy is not None]
        if len(accuracies) < len(rows):
            return cls(np.array([-row.value for row in rows]), "BN indicator")
        # Accuracies on different batches are not comparable: say so in the label.
        batch = ", a batch for each step" if algorithm.evaluation_mode == "batch" else ""
        return cls(np.array(accuracies), f"held-out accuracy{batch}")


def _scatter(
    axes: Axes,
    rows: Sequence[Row],
    shown: Shown,
    space: SearchSpace,
    costs: Callable[[Architecture], dict[str, float | None]],
    limits: Sequence[Limit],
) -> None:
    """Values over the first budget's cost, coloured by step, with the Pareto front."""
    budgets = {limit.key: limit.budget for limit in limits if limit.key in UNITS}
    key = next(iter(budgets), "flops")
    architectures = [space.architecture([int(w) for w in row.choices.split()]) for row in rows]
    cost_N = np.array([costs(architecture)[key] or 0.0 for architecture in architectures])
    points = axes.scatter(cost_N, shown.values_N, c=[row.step for row in rows], s=14)
    axes.figure.colorbar(points, ax=axes, label="step")
    best = front(cost_N, shown.values_N)
    ends = [*cost_N[best], cost_N.max()], [*shown.values_N[best], shown.values_N.max()]
    axes.step(*ends, where="post", color="0.3", label="best up to a cost")
    if key in budgets:
        axes.axvline(budgets[key], color="crimson", linestyle="--", label="budget")
    axes.legend(fontsize=8)
    axes.set(xlabel=UNITS[key], ylabel=shown.meaning, title="evaluated architectures")


def front(cost_N: Vector, value_N: Vector) -> list[int]:
    """Indices of the Pareto front, from the smallest cost on."""
    found: list[int] = []
    for at in np.lexsort((-value_N, cost_N)).tolist():
        if not found or value_N[at] > value_N[found[-1]]:
            found.append(at)
    return found


def _best_so_far(axes: Axes, rows: Sequence[Row], shown: Shown) -> None:
    """All values, and the best within the budgets after each evaluated architecture."""
    within_N = np.where([row.excess <= 0 for row in rows], shown.values_N, -np.inf)
    numbers = range(1, len(rows) + 1)
    axes.scatter(numbers, shown.values_N, s=8, color="0.75")
    axes.step(numbers, np.maximum.accumulate(within_N), where="post")
    axes.set(
        xlabel="architectures evaluated",
        ylabel=shown.meaning,
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


def _final(axes: Axes, heat: HeatMap, distribution: Distribution | None) -> None:
    """Probability, or frequency in the population, of every option of every group."""
    if distribution is None:
        draw(axes, heat, "final population", "share of its networks")
    else:
        draw(axes, heat, f"final distribution ({distribution.form})", "probability")
