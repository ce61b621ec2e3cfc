"""Random search, the baseline at an equal number of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from models.search.algorithms.base import Algorithm, Result, SampledSettings, SharedParams
from models.search.problem import Problem
from models.space.distribution import Choices, Distribution


class RandomSettings(SampledSettings):
    """Of the algorithm `random`."""

    name: Literal["random"] = "random"


class RandomSearch(Algorithm):
    """`fixed_samples` per step, all within the budgets; the answer has the lowest NLL."""

    settings_type = RandomSettings
    settings: RandomSettings

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        super().__init__(problem, params)
        self._uniform = Distribution(problem.groups, "joint")

    @property
    def distribution(self) -> Distribution:
        """The uniform distribution."""
        return self._uniform

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """Random architectures within the budgets."""
        return [self.random_feasible(rng) for _ in range(self.settings.fixed_samples)]

    def learn(self, results: Sequence[Result]) -> list[float]:
        """Nothing to update; uniform weights."""
        return [1.0 / len(results)] * len(results)

    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """The evaluated architectures with the lowest NLL."""
        return self.fill_up(self.seen.best(), count, rng)
