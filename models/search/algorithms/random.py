"""Random search, the baseline at an equal number of evaluations."""

from __future__ import annotations

from typing import Literal

import numpy as np

from models.search.algorithms.base import Algorithm, SampledSettings, SharedParams
from models.search.problem import Problem
from models.space.distribution import Choices, Distribution


class RandomSettings(SampledSettings):
    """Of the algorithm `random`."""

    name: Literal["random"] = "random"


class RandomSearch(Algorithm):
    """Random architectures within the budgets."""

    settings_type = RandomSettings
    settings: RandomSettings

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        super().__init__(problem, params)
        self.distribution = Distribution(problem.groups, "joint")

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """`fixed_samples` architectures."""
        return [self.random_feasible(rng) for _ in range(self.settings.fixed_samples)]
