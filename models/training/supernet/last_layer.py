"""Training of only the classifier's last layer, after a training without labels.

The rest of the pipeline needs the supernet's logits (the search's likelihood, the ranking's
accuracy, the slices from which teacher and students start); after `pi` alone they would be those
of random weights. This is the usual linear evaluation, on random paths instead of one network.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from models.nets.shared_cells import SharedLinear
from models.training.loop import Batches, Recipe, Run, train
from models.training.strategies.base import Task
from models.training.strategies.spos import SinglePath

LEARNING_RATE = 1.0
"""High, because pooled features are small and the problem is convex (MoCo uses 30)."""


class LastLayer(SinglePath):
    """Single random paths, of which only the last fully connected layer is trained."""

    name = "last_layer"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        heads = task.supernet.positions[-1].modules()
        self._layers = [module for module in heads if isinstance(module, SharedLinear)]

    def trainable(self) -> Iterable[nn.Parameter]:
        """Its weight and bias."""
        return [parameter for layer in self._layers for parameter in layer.parameters()]


def fit_last_layer(task: Task, batches: Batches, steps: int) -> None:
    """Train the last layer of the task's supernet, in place; everything else keeps its weights.

    Args:
        task: the supernet, its space and the objective on labels.
        batches: labelled training images of each step.
        steps: number of steps.
    """
    learner = LastLayer(task)
    learnable = [p for p in task.supernet.parameters() if p.requires_grad]
    task.supernet.requires_grad_(False)
    for parameter in learner.trainable():
        parameter.requires_grad_(True)
    run = Run(
        task.supernet,
        Recipe(steps, LEARNING_RATE),
        learner.trainable(),
        learner,
        task.processes,
    )
    train(run, batches, learner.learn)
    for parameter in learnable:
        parameter.requires_grad_(True)
