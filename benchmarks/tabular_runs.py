"""Runs of search algorithms on the table, and what can be said of many of them.

Axes: S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.tabular_table import Array, Judge, Table
from models.search.algorithms import Algorithm
from models.search.loop import one_step, problem_of
from models.search.problem import Problem
from models.search.settings import SearchParams
from models.space.costs import flops
from models.space.limits import Limit

NEAR = 0.2
"""Points below the optimum that still count as found."""
_ANSWER = 1  # as in the search loop: the generator of an answer


@dataclass(frozen=True)
class Setting:
    """What is searched for, and how it is judged.

    Attributes:
        name: for people.
        judge: the images behind an evaluation.
        flops: the budget; None for none.
    """

    name: str
    judge: Judge
    flops: float | None

    def problem(self, table: Table, images: int) -> Problem:
        """The problem that algorithms are given."""
        limits = () if self.flops is None else (Limit("flops", self.flops, flops),)
        return problem_of(table.space, limits, images)


@dataclass(frozen=True)
class Run:
    """One search: after each step how many architectures were sampled, and what it answered.

    Attributes:
        samples: running number of sampled architectures.
        accuracies: the answer's true accuracy, percent.
    """

    samples: tuple[int, ...]
    accuracies: tuple[float, ...]

    def at(self, samples: int) -> float:
        """The accuracy of the answer that at most so many samples gave."""
        place = int(np.searchsorted(self.samples, samples, side="right")) - 1
        return self.accuracies[max(0, place)]

    def stays(self, best: float) -> int | None:
        """Samples from which on the answer never leaves the optimum's neighbourhood again."""
        near = [accuracy >= best - NEAR - 1e-9 for accuracy in self.accuracies]
        if not near[-1]:
            return None
        first = len(near) - near[::-1].index(False) if False in near else 0
        return self.samples[first]


def run(
    kind: type[Algorithm],
    params: SearchParams,
    table: Table,
    setting: Setting,
    problem: Problem,
    on_the_way: bool = True,
) -> Run:
    """Search once with the project's own code.

    Args:
        kind: the algorithm.
        params: with the run's seed.
        table: answers the queries.
        setting: how.
        problem: the setting's; it remembers costs, so runs share it.
        on_the_way: whether to ask for the answer after every step, or after the last alone.
    """
    searched = kind(problem, params)
    evaluate = table.evaluation(searched, setting.judge, params.seed)
    samples, accuracies = [], []
    while not searched.finished:
        one_step(searched, table.space.architecture, evaluate)
        if on_the_way or searched.finished:
            answer = searched.answer(1, np.random.default_rng([params.seed, _ANSWER]))[0]
            samples.append(searched.samples)
            accuracies.append(table.accuracy(answer))
    return Run(tuple(samples), tuple(accuracies))


def final(runs: Sequence[Run]) -> Array:
    """The accuracy of each run's last answer, shape (S,)."""
    return np.array([one.accuracies[-1] for one in runs])


def spent(runs: Sequence[Run]) -> Array:
    """How many architectures each run sampled, shape (S,)."""
    return np.array([one.samples[-1] for one in runs], dtype=np.float64)


@dataclass(frozen=True)
class Difference:
    """Paired over the seeds: mean of `a - b`, with 90 and 95% intervals (Student's t).

    Attributes:
        mean: of the differences, in points.
        interval90: two one-sided tests at 5% say equal where it lies within the margin.
        interval95: around the mean.
    """

    mean: float
    interval90: tuple[float, float]
    interval95: tuple[float, float]

    @classmethod
    def of(cls, a_S: Array, b_S: Array) -> Difference:
        """Of two results with the same seeds in the same order; at least two seeds."""
        gap_S = a_S - b_S
        error = float(gap_S.std(ddof=1)) / len(gap_S) ** 0.5
        mean = float(gap_S.mean())

        def interval(share: float) -> tuple[float, float]:
            wide = float(stats.t.ppf(0.5 + share / 2, len(gap_S) - 1)) * error
            return mean - wide, mean + wide

        return cls(mean, interval(0.9), interval(0.95))

    def equal(self, margin: float) -> bool:
        """Whether the difference is shown to be smaller than the margin, both ways."""
        return -margin < self.interval90[0] and self.interval90[1] < margin

    def below(self, margin: float) -> bool:
        """Whether `a` is shown to be better by less than the margin, if at all."""
        return self.interval90[1] < margin

    def lost(self) -> bool:
        """Whether `a` is shown to be worse."""
        return self.interval95[1] < 0
