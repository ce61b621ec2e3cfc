"""The sandwich rule with in-place distillation (Yu et al. 2020, "BigNAS", section 3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch.nn import functional

from core.settings import Named
from data.stream import Batch
from models.space.architecture import Architecture
from models.space.costs import block_flops
from models.training.objective import Outcome, outcome
from models.training.strategies.base import PATHS, Strategy, Task, backward, mean_outcome


class SandwichSettings(Named):
    """Of the strategy `sandwich`."""

    name: Literal["sandwich"] = "sandwich"
    random_networks: int = Field(2, ge=0)
    """Random architectures per step besides the largest and the smallest; the paper uses 2."""


class Sandwich(Strategy):
    """Each step trains the largest, the smallest and some random architectures.

    The largest (most FLOPs) is trained on labels, the others only on its soft labels. Gradients are
    averaged over the architectures where the paper sums them, so that learning rates are comparable
    between strategies.
    """

    settings_type = SandwichSettings

    def __init__(self, task: Task, settings: SandwichSettings) -> None:
        super().__init__(task, settings)
        self.settings = settings
        self._largest = self.space.extreme(block_flops, largest=True)
        self._smallest = self.space.extreme(block_flops)

    def paths(self, step: int) -> tuple[Architecture, ...]:
        """The largest, the smallest, then the random ones."""
        rng = np.random.default_rng([self.task.seed, PATHS, step])
        drawn = [self.space.sample(rng) for _ in range(self.settings.random_networks)]
        return (self._largest, self._smallest, *drawn)

    def learn(self, step: int, batch: Batch) -> Outcome:
        """Train the largest first, then the others on its soft labels."""
        largest, *others = self.paths(step)
        share = 1 / (1 + len(others))
        teacher_NK = self.forward_path(self.supernet, batch.images_NCHW, largest).logits_NK
        loss = self.objective(teacher_NK, batch)
        backward(share * loss)
        outcomes = [outcome(loss, teacher_NK, batch)]
        soft_NK = teacher_NK.detach().softmax(1)
        for architecture in others:
            logits_NK = self.forward_path(self.supernet, batch.images_NCHW, architecture).logits_NK
            loss = functional.cross_entropy(logits_NK, soft_NK)  # KL divergence plus a constant
            backward(share * loss)
            outcomes.append(outcome(loss, logits_NK, batch))
        return mean_outcome(outcomes)
