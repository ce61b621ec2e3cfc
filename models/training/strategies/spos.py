"""Single path, uniform sampling (Guo et al. 2020, "Single Path One-Shot", section 3.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from core.settings import Named
from data.stream import Batch
from models.space.architecture import Architecture
from models.training.objective import Outcome
from models.training.strategies.base import PATHS, Strategy


class SinglePathSettings(Named):
    """Of the strategy `spos`."""

    name: Literal["spos"] = "spos"


class SinglePath(Strategy):
    """Each step trains one uniformly random architecture."""

    settings_type: ClassVar[type[Named]] = SinglePathSettings

    def paths(self, step: int) -> tuple[Architecture, ...]:
        """One random architecture."""
        return (self.space.sample(np.random.default_rng([self.task.seed, PATHS, step])),)

    def learn(self, step: int, batch: Batch) -> Outcome:
        """Run forward and backward through one path."""
        (architecture,) = self.paths(step)
        return self.learn_labels(batch, architecture)
