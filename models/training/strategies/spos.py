"""Single path, uniform sampling (Guo et al. 2020, "Single Path One-Shot", section 3.2)."""

from __future__ import annotations

import numpy as np

from data.stream import Batch
from models.space.architecture import Architecture
from models.training.loop import Outcome
from models.training.strategies.base import PATHS, Strategy


class SinglePath(Strategy):
    """Each step trains one uniformly random architecture."""

    name = "spos"

    def paths(self, step: int) -> tuple[Architecture, ...]:
        """One random architecture."""
        return (self.space.sample(np.random.default_rng([self.task.seed, PATHS, step])),)

    def learn(self, step: int, batch: Batch) -> Outcome:
        """Run forward and backward through one path."""
        (architecture,) = self.paths(step)
        return self.learn_labels(batch, architecture)
