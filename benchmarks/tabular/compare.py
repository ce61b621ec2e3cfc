"""Runs of all search algorithms in one setting of the tabular benchmark, and their comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.harness.compare import Difference
from benchmarks.harness.judged import answer_now
from benchmarks.harness.release import search_settings
from benchmarks.tabular.table import Array, Judge, Table
from models.search.algorithms import ALGORITHMS
from models.search.algorithms.parsec import ParsecSettings
from models.search.loop import one_step
from models.search.problem import Problem, problem_of
from models.search.settings import SearchParams
from models.space.costs import flops
from models.space.limits import Limit

FIXED = (2, 3, 4, 6, 8, 12, 16, 24)
"""PARSEC's numbers of samples a step."""
RATES = (0.5, 2.0)
"""PARSEC's other learning rates, in units of the default."""
NEAR = 0.2
"""Points below the optimum that still count as found."""


@dataclass(frozen=True)
class Setting:
    """What is searched for, and how it is evaluated; `flops` is the budget."""

    name: str
    judge: Judge
    flops: float | None

    def problem(self, table: Table, images: int) -> Problem:
        """The problem that algorithms solve."""
        limits = () if self.flops is None else (Limit("flops", self.flops, flops),)
        return problem_of(table.space, limits, images)


@dataclass(frozen=True)
class Run:
    """One search: after each step its evaluations, and its answer's true accuracy in percent.

    Both as if it ended there, with its shortlist.
    """

    samples: tuple[int, ...]
    accuracies: tuple[float, ...]

    def at(self, samples: int) -> float:
        """The accuracy of the answer after at most so many samples."""
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
    params: SearchParams, table: Table, setting: Setting, problem: Problem, on_the_way: bool = True
) -> Run:
    """Search once with the project's own code; note the answers on the way, or the last alone."""
    searched = ALGORITHMS[params.algorithm.name](problem, params)
    space, judge = table.space, table.evaluation(params, setting.judge, params.seed, same=True)
    evaluate = judge
    if searched.evaluation_mode == "batch":
        evaluate = table.evaluation(params, setting.judge, params.seed, same=False)
    samples, accuracies = [], []
    while not searched.finished:
        one_step(searched, space.architecture, evaluate)
        if on_the_way or searched.finished:
            answer, evaluations = answer_now(searched, space.architecture, judge)
            samples.append(evaluations)
            accuracies.append(table.accuracy(answer))
    return Run(tuple(samples), tuple(accuracies))


def final(runs: Sequence[Run]) -> Array:
    """The accuracy of each run's last answer."""
    return np.array([one.accuracies[-1] for one in runs])


def spent(runs: Sequence[Run]) -> Array:
    """How many architectures each run sampled."""
    return np.array([one.samples[-1] for one in runs], dtype=np.float64)


@dataclass(frozen=True)
class Compared:
    """Everything that was run in one setting, with the same seeds throughout.

    `best` is the highest true accuracy there is, in percent; a difference below `margin` points is
    none. `sweep` has PARSEC's final answers by fixed number of samples and learning rate, `random`
    searches long enough for equal numbers of evaluations.
    """

    setting: Setting
    best: float
    margin: float
    runs: Mapping[str, Sequence[Run]]
    sweep: Mapping[tuple[int, float], Sequence[Run]]
    random: Sequence[Run]

    @cached_property
    def parsec(self) -> tuple[int, float]:
        """PARSEC's best: the highest mean accuracy of the sweep."""
        return max(self.sweep, key=lambda key: float(final(self.sweep[key]).mean()))

    @cached_property
    def frugal(self) -> tuple[int, float] | None:
        """The PARSEC with the fewest samples that is as good as FP-NAS, or better."""
        good = [key for key in self.sweep if self.against(key).interval(0.9)[0] > -self.margin]
        return min(good, key=lambda key: float(spent(self.sweep[key]).mean()), default=None)

    @cached_property
    def lost(self) -> list[str]:
        """Algorithms that random search beats at equal numbers of evaluations."""
        names = [name for name in self.runs if name != "random"]
        return [name for name in names if self.over_random(name).verdict == "worse"]

    def against(self, key: tuple[int, float]) -> Difference:
        """A PARSEC's final accuracy minus that of FP-NAS."""
        return Difference.of(final(self.sweep[key]).tolist(), final(self.runs["fp_nas"]).tolist())

    def saved(self, key: tuple[int, float]) -> float:
        """Share of a PARSEC's samples that FP-NAS did without."""
        return 1 - float(spent(self.runs["fp_nas"]).mean() / spent(self.sweep[key]).mean())

    def over_random(self, name: str) -> Difference:
        """An algorithm's final accuracy minus random search's at equal evaluations."""
        pairs = zip(self.random, self.runs[name], strict=True)
        equal = [chance.at(one.samples[-1]) for chance, one in pairs]
        return Difference.of(final(self.runs[name]).tolist(), equal)


def compare(table: Table, setting: Setting, params: Path, seeds: Sequence[int]) -> Compared:
    """Run everything in one setting, with the settings of a params file."""
    default = search_settings(params, "parsec", 0)
    problem = setting.problem(table, default.batch)

    def runs(name: str, on_the_way: bool = False, /, **changes: object) -> list[Run]:
        every = [search_settings(params, name, seed, **changes) for seed in seeds]
        return [run(one, table, setting, problem, on_the_way) for one in every]

    found = {name: runs(name, True) for name in ALGORITHMS}
    assert isinstance(default.algorithm, ParsecSettings)
    rate = default.algorithm.learning_rate
    sweep = {(fixed, rate): runs("parsec", fixed_samples=fixed) for fixed in FIXED}
    best = max(sweep, key=lambda key: float(final(sweep[key]).mean()))[0]
    for changed in (factor * rate for factor in RATES):
        sweep[best, changed] = runs("parsec", fixed_samples=best, learning_rate=changed)
    longest = max(int(spent(some).max()) for some in found.values())
    steps = -(-longest // default.algorithm.fixed_samples)
    chance = runs("random", True, steps=steps)
    return Compared(setting, table.best(setting.flops), table.training_noise, found, sweep, chance)
