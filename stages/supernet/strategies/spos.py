"""Single path, uniform sampling (Guo et al. 2020, "Single Path One-Shot", section 3.2)."""

from __future__ import annotations

import numpy as np

from models.batch import Batch
from models.training import Outcome, outcome
from stages.supernet.strategies.base import Strategy

_PATHS = 2
"""Keeps this generator apart from those of the data stream with the same seed."""


class SinglePath(Strategy):
    """At each step, one uniformly random architecture learns the batch."""

    name = "spos"

    def learn(self, step: int, batch: Batch) -> Outcome:
        """Forward and backward through one path."""
        architecture = self.space.sample(np.random.default_rng([self.seed, _PATHS, step]))
        logits_NK = self.supernet(batch.images_NCHW, architecture)
        loss = self.objective(logits_NK, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return outcome(loss, logits_NK, batch)
