"""All algorithms in one setting of the tabular benchmark, and what they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.tabular_runs import Difference, Run, Setting, final, run, spent
from benchmarks.tabular_table import Array, Table
from models.search.algorithms import ALGORITHMS, Algorithm
from models.search.algorithms.fp_nas import FpNas
from models.search.settings import SearchParams

FIXED = (2, 3, 4, 6, 8, 12, 16, 24)
"""PARSEC's numbers of samples a step."""
RATES = (0.5, 2.0)
"""PARSEC's other learning rates, in units of the default."""
ALL_FIVE: Mapping[str, object] = {
    "learn_from": "all",
    "min_samples": 5,
    "stop_when_sharp": True,
}
"""Of FP-NAS: as tuned on NAS-Bench-Macro, which the default is not."""
VARIANTS: Mapping[str, Mapping[str, object]] = {
    "the same, at least 5 samples, until sharp": {"min_samples": 5, "stop_when_sharp": True},
    "that, learning from all evaluations": ALL_FIVE,
    "that, in all steps": {**ALL_FIVE, "stop_when_sharp": False},
    "learning from all, 1 sample per nat, 2 to 8, until sharp": {
        **ALL_FIVE,
        "samples_per_nat": 1.0,
        "min_samples": 2,
        "max_samples": 8,
    },
}
"""FP-NAS with other params, to see what does what."""
GOAL = 0.64
"""Share of PARSEC's samples that FP-NAS is to save."""


@dataclass(frozen=True)
class Compared:
    """Everything that was run in one setting, with the same seeds throughout.

    Attributes:
        setting: which.
        best: the highest true accuracy there is, percent.
        margin: points of accuracy below which a difference is none.
        runs: of every algorithm, with default params.
        sweep: of PARSEC, by fixed number of samples and learning rate; final answers only.
        variants: of FP-NAS, to see what does what; final answers only.
        random: long random searches, for equal numbers of evaluations.
    """

    setting: Setting
    best: float
    margin: float
    runs: Mapping[str, Sequence[Run]]
    sweep: Mapping[tuple[int, float], Sequence[Run]]
    variants: Mapping[str, Sequence[Run]]
    random: Sequence[Run]

    @cached_property
    def parsec(self) -> tuple[int, float]:
        """PARSEC's best: the highest mean accuracy of the sweep."""
        return max(self.sweep, key=lambda key: float(final(self.sweep[key]).mean()))

    @cached_property
    def frugal(self) -> tuple[int, float] | None:
        """The PARSEC with the fewest samples that is as good as FP-NAS, or better."""
        good = [key for key in self.sweep if self.against(key).interval90[0] > -self.margin]
        return min(good, key=lambda key: float(spent(self.sweep[key]).mean()), default=None)

    def against(self, key: tuple[int, float]) -> Difference:
        """A PARSEC's final accuracy minus that of FP-NAS."""
        return Difference.of(final(self.sweep[key]), final(self.runs["fp_nas"]))

    def saved(self, key: tuple[int, float]) -> float:
        """Share of a PARSEC's samples that FP-NAS did without."""
        return 1 - float(spent(self.runs["fp_nas"]).mean() / spent(self.sweep[key]).mean())

    def random_at(self, name: str) -> Array:
        """Random search's accuracy after as many evaluations as each run of an algorithm made."""
        pairs = zip(self.random, self.runs[name], strict=True)
        return np.array([chance.at(one.samples[-1]) for chance, one in pairs])

    def over_random(self, name: str) -> Difference:
        """An algorithm's final accuracy minus random search's at equal evaluations."""
        return Difference.of(final(self.runs[name]), self.random_at(name))


def compare(table: Table, setting: Setting, params: SearchParams, seeds: Sequence[int]) -> Compared:
    """Run everything in one setting."""
    problem = setting.problem(table, params.batch)

    def runs(kind: type[Algorithm], on_the_way: bool = False, /, **changes: object) -> list[Run]:
        asked = params.model_copy(update={"algorithm": kind.name, **changes})
        return [
            run(kind, asked.model_copy(update={"seed": seed}), table, setting, problem, on_the_way)
            for seed in seeds
        ]

    default = {name: runs(kind, True) for name, kind in ALGORITHMS.items()}
    parsec, rate = ALGORITHMS["parsec"], params.learning_rate
    sweep = {(fixed, rate): runs(parsec, fixed_samples=fixed) for fixed in FIXED}
    best = max(sweep, key=lambda key: float(final(sweep[key]).mean()))[0]
    for factor in RATES:
        key = (best, factor * rate)
        sweep[key] = runs(parsec, fixed_samples=best, learning_rate=key[1])
    longest = max(int(spent(found).max()) for found in default.values())
    steps = -(-longest // params.fixed_samples)
    return Compared(
        setting,
        table.best(setting.flops),
        table.training_noise,
        default,
        sweep,
        {name: runs(FpNas, **changes) for name, changes in VARIANTS.items()},
        runs(ALGORITHMS["random"], True, steps=steps),
    )
