"""Strict fairness (Chu et al. 2021, "FairNAS", section 3.3): all options equally often."""

from __future__ import annotations

from typing import Literal

import numpy as np

from core.settings import Named
from data.stream import Batch
from models.space.architecture import Architecture
from models.training.objective import Outcome
from models.training.strategies.base import PATHS, Strategy, Task, mean_outcome


class FairSettings(Named):
    """Of the strategy `fair`."""

    name: Literal["fair"] = "fair"


class Fair(Strategy):
    """Each step trains as many architectures as the largest group has options.

    A group with that many options uses each of them exactly once per step, in random order. A group
    with fewer options goes through successive random permutations of them across steps, so that
    their counts differ by at most 1 after any number of architectures.

    Gradients are accumulated over the architectures before one optimiser step, as in the paper, but
    averaged where the paper sums them, so that learning rates are comparable between strategies.
    The paper's variant is this one with the learning rate times the number of architectures. A step
    costs as much as that many steps of `spos`.
    """

    settings_type = FairSettings

    def __init__(self, task: Task, settings: Named) -> None:
        super().__init__(task, settings)
        self._substeps = max(len(group.candidates) for group in task.space.groups)

    def paths(self, step: int) -> tuple[Architecture, ...]:
        """One architecture per option of the largest group."""
        first = step * self._substeps
        columns = [
            self._options(group, len(self.space.groups[group].candidates), first)
            for group in range(len(self.space.groups))
        ]
        return tuple(self.space.architecture(row) for row in zip(*columns, strict=True))

    def learn(self, step: int, batch: Batch) -> Outcome:
        """Run forward and backward through the paths in turn."""
        paths = self.paths(step)
        return mean_outcome([self.learn_labels(batch, path, 1 / len(paths)) for path in paths])

    def _options(self, group: int, options: int, first: int) -> list[int]:
        """A group's options for this step's architectures, the first of which is number `first`."""
        rounds = range(first // options, (first + self._substeps - 1) // options + 1)
        orders = [
            np.random.default_rng([self.task.seed, PATHS, group, number]).permutation(options)
            for number in rounds
        ]
        start = first - rounds.start * options
        return [int(option) for option in np.concatenate(orders)[start : start + self._substeps]]
