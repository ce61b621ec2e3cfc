"""Strict fairness (Chu et al. 2021, "FairNAS", section 3.3): every option learns equally often."""

from __future__ import annotations

import numpy as np

from models.architecture import Architecture
from models.batch import Batch
from models.training import Outcome
from stages.supernet.strategies.base import PATHS, Strategy, Task, mean_outcome


class Fair(Strategy):
    """At each step, as many architectures as the largest group has options learn the batch.

    A group with that many options uses each of them exactly once a step, in a random order. A group
    with fewer takes one random order of all its options after the other and goes on with it in the
    next step: after any number of architectures its options' counts differ by at most 1, which is
    as equal as a count that does not divide can be.

    Gradients are accumulated over the architectures and followed by one optimiser step, as in the
    paper, but as their mean where the paper has their sum: so a learning rate means the same in
    every strategy. The paper's form is this one with a learning rate as many times higher. A step
    costs as much as that many steps of `spos`.
    """

    name = "fair"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
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
        """Forward and backward through one path after the other."""
        paths = self.paths(step)
        return mean_outcome([self.learn_labels(batch, path, 1 / len(paths)) for path in paths])

    def _options(self, group: int, options: int, first: int) -> list[int]:
        """A group's options for the architectures from number `first` of the whole training on."""
        rounds = range(first // options, (first + self._substeps - 1) // options + 1)
        orders = [
            np.random.default_rng([self.task.seed, PATHS, group, number]).permutation(options)
            for number in rounds
        ]
        start = first - rounds.start * options
        return [int(option) for option in np.concatenate(orders)[start : start + self._substeps]]
