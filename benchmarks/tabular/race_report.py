"""The comparison of ways of choosing whom to train really, as Markdown and as a picture."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import t as student

from benchmarks.harness.compare import Difference
from benchmarks.harness.markdown import table as markdown
from benchmarks.tabular.race import ARMS, RANDOM_FIRST, RIDGE_RANDOM, SHOWN, World, regrets
from benchmarks.tabular.table import Array, Table

BUDGETS = (40e6, 50e6, 60e6, 80e6)
"""Multiply-accumulates of the reported bands."""
TUNED = (45e6, 70e6)
"""Budgets of the bands, and seeds from 100 on, on which the race was tuned."""
GOAL_BUDGET, GOAL_TRAININGS, GOAL = 50e6, 12, 0.5
"""The race is to be at most this far from the best, in points, after so many trainings."""


@dataclass(frozen=True)
class Raced:
    """All arms within one budget: per arm the regrets (seeds, numbers of trainings)."""

    budget: float
    networks: int
    best: float
    floor: float
    regrets: Mapping[str, Array]


def raced(file: Path, budget: float, seeds: Sequence[int]) -> Raced:
    """Run all arms within one budget."""
    table = Table.load(file)
    worlds = [World(table, budget, seed) for seed in seeds]
    found = {arm: np.array([regrets(arm, world) for world in worlds]) for arm in ARMS}
    macs_A = table.flops_A
    inside_A = (macs_A <= budget) & (macs_A >= worlds[0].band.low * budget)
    return Raced(budget, int(inside_A.sum()), table.best(budget), floor(table, budget), found)


def floor(table: Table, budget: float) -> float:
    """Mean regret of the best of ALL networks by two trainings, judged by the third, in points.

    What is left of the regret when every network was trained twice: the highest mean of three is
    itself selected from noise.
    """
    accuracies_AT = table.accuracies_AT[table.flops_A <= budget]
    hidden = []
    for at in range(accuracies_AT.shape[1]):
        best = int(np.delete(accuracies_AT, at, axis=1).mean(1).argmax())
        hidden.append(float(accuracies_AT[best, at]))
    return table.best(budget) - statistics.fmean(hidden)


def race_section(found: Sequence[Raced], seeds: Sequence[int], drawn: str | None) -> str:
    """Everything about the race."""
    return "\n\n".join([_introduction(seeds, drawn), _verdict(found), *map(_budget, found)])


def _introduction(seeds: Sequence[int], drawn: str | None) -> str:
    image = f"\n\n![Regret against real trainings]({drawn})" if drawn else ""
    tuned = " and ".join(f"{budget / 1e6:g}" for budget in TUNED)
    return f"""`python -m benchmarks.tabular --part race --table nas-bench-macro_cifar10.json --out
docs/results/tabular.md --picture docs/results/tabular.png`. Whom to train really, within [0.9, 1]
of a budget of multiply-accumulates. A real training is one of a network's three, drawn by the seed
and the same for all arms. The answer after n trainings is the network with the best one; it was
selected for being good, so it is judged by the mean of the OTHER two trainings, which no arm sees.
Regret is the highest mean of three within the budget minus that, in points: mean over seeds
{seeds[0]} to {seeds[-1]} with Student's 95% interval. The floor is the regret left when EVERY
network of the budget was trained twice and the best is judged by its third training: a mean of only
three answers.

- `race`: the deepest, the largest, the width-scaled (where it fits) and {RANDOM_FIRST} random
  networks of the band, then one by one the highest expected improvement of a Gaussian process
  (`models/search/race`).
- `evolution`: regularised evolution (Real et al. 2019) within the band.
- `ridge`: {RIDGE_RANDOM:.0%} of the n trainings at random, the rest the best by a ridge regression.

The race and evolution were tuned on the bands of {tuned} M and seeds from 100 on.{image}"""


def _verdict(found: Sequence[Raced]) -> str:
    at = SHOWN.index(GOAL_TRAININGS)
    one = next((one for one in found if one.budget == GOAL_BUDGET), None)
    if one is None:
        return "The goal's budget was not run."
    values = one.regrets["race"][:, at].tolist()
    low, high = _interval(values)
    mean = statistics.fmean(values)
    return (
        f"**Goal**: at most {GOAL} points of regret after {GOAL_TRAININGS} trainings within "
        f"{GOAL_BUDGET / 1e6:g} M: the race has **{mean:.2f}** ({low:.2f} to {high:.2f}), "
        f"{'met' if mean <= GOAL else 'missed'}."
    )


def _budget(one: Raced) -> str:
    """The table of one budget."""
    rows = []
    for arm, regrets_SK in one.regrets.items():
        cells = [_cell(column.tolist()) for column in regrets_SK.T]
        at = SHOWN.index(GOAL_TRAININGS)
        against = Difference.of(one.regrets["race"][:, at].tolist(), regrets_SK[:, at].tolist())
        rows.append([f"`{arm}`", *cells, "" if arm == "race" else against.shown(2)])
    head = ("arm", *map(str, SHOWN), f"race minus arm at {GOAL_TRAININGS}")
    return (
        f"**{one.budget / 1e6:g} M**: {one.networks} networks in the band, best {one.best:.2f}%, "
        f"floor {one.floor:.2f} points; regret after so many trainings:\n\n{markdown(head, rows)}"
    )


def _interval(values: Sequence[float]) -> tuple[float, float]:
    return Difference.of(values, [0.0] * len(values)).interval()


def _cell(values: Sequence[float]) -> str:
    low, high = _interval(values)
    return f"{statistics.fmean(values):.2f} ({low:.2f} to {high:.2f})"


def race_picture(found: Sequence[Raced]) -> bytes:
    """Regret against trainings, one panel a budget: mean and 95% interval over the seeds."""
    figure = Figure(figsize=(11, 3.4 * -(-len(found) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(found) // 2), 2, squeeze=False).flat
    for axes, one in zip(panels, found, strict=False):
        for arm, regrets_SK in one.regrets.items():
            mean_K, seeds = regrets_SK.mean(0), len(regrets_SK)
            reach_K = regrets_SK.std(0, ddof=1) * float(student.ppf(0.975, seeds - 1)) / seeds**0.5
            (line,) = axes.plot(SHOWN, mean_K, marker="o", markersize=3, label=arm, linewidth=1.2)
            color = line.get_color()
            axes.fill_between(SHOWN, mean_K - reach_K, mean_K + reach_K, alpha=0.12, color=color)
        axes.axhline(one.floor, color="black", linewidth=0.8, linestyle=":")
        axes.set_ylim(0, None)
        axes.set_xlabel("real trainings")
        axes.set_ylabel("regret (points)")
        axes.set_title(f"[0.9, 1] of {one.budget / 1e6:g} M multiply-accumulates", fontsize=9)
    figure.axes[0].legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()
