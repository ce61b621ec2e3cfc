"""`search.png`: what was evaluated, how the search went on, and what it settled on.

What was evaluated stands as accuracy over cost, with the front of the best accuracies; a search
that looked at no image shows the indicator that it went by. An algorithm with a distribution shows
its entropy, its samples and its probabilities; another one the best so far and how its population
shares out the options.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.architecture import Architecture
from models.distribution import Distribution, Vector
from models.space import SearchSpace
from stages.common.budgets import UNITS, Limit
from stages.search.algorithms import Algorithm
from stages.search.heat_map import HeatMap, draw
from stages.search.loop import Row

_LEFT = 6.4
"""Inches for what was evaluated and how it went on."""


def search_png(
    rows: Sequence[Row],
    space: SearchSpace,
    searched: Algorithm,
    costs: Callable[[Architecture], dict[str, float | None]],
    limits: Sequence[Limit],
) -> bytes:
    """Draw the search; the same search gives the same bytes."""
    # No pyplot: it keeps global state and looks for a display.
    heat = HeatMap.of(space.groups, searched.shares())
    width, height = heat.size
    figure = Figure(figsize=(_LEFT + width, height), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[_LEFT, width])[0]
    scatter, curves = left.subplots(2, 1)
    shown = Shown.of(rows, searched)
    _scatter(scatter, rows, shown, space, costs, limits)
    if searched.distribution is None:
        _best_so_far(curves, rows, shown)
    else:
        _entropy(curves, rows)
    _final(right.subplots(), heat, searched.distribution)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class Shown:
    """One number of every evaluated architecture, where higher is better.

    Attributes:
        values_N: the held-out accuracies; the indicator where no image was looked at.
        meaning: of the values.
    """

    values_N: Vector
    meaning: str

    @classmethod
    def of(cls, rows: Sequence[Row], searched: Algorithm) -> Shown:
        """What these rows show."""
        accuracies = [row.accuracy for row in rows if row.accuracy is not None]
        if len(accuracies) < len(rows):
            return cls(np.array([-row.value for row in rows]), "BN indicator")
        # The luck of a batch is no merit of what was judged on it: whoever looks should know.
        batch = ", a batch for each step" if searched.judged == "batch" else ""
        return cls(np.array(accuracies), f"held-out accuracy{batch}")


def _scatter(
    axes: Axes,
    rows: Sequence[Row],
    shown: Shown,
    space: SearchSpace,
    costs: Callable[[Architecture], dict[str, float | None]],
    limits: Sequence[Limit],
) -> None:
    """What was found over the first budget's cost, coloured by step, and the front of the best."""
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
    """The numbers of those that are better than everything as cheap, from the cheapest on."""
    found: list[int] = []
    for at in np.lexsort((-value_N, cost_N)).tolist():
        if not found or value_N[at] > value_N[found[-1]]:
            found.append(at)
    return found


def _best_so_far(axes: Axes, rows: Sequence[Row], shown: Shown) -> None:
    """The best within the budgets after each evaluated architecture, and all that were found."""
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
    """How likely, or how frequent in the population, every option of every choice is."""
    if distribution is None:
        draw(axes, heat, "final population", "share of its networks")
    else:
        draw(axes, heat, f"final distribution ({distribution.form})", "probability")
