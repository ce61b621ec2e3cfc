"""Interface of training strategies: which paths of the supernet a step trains, with which loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from core.distributed import ALONE, Processes
from core.settings import Named
from data.stream import Batch
from models.nets.features import ForwardResult, supernet_features
from models.nets.shared_cells import SharedAffine, SlicedNorm
from models.nets.supernet import Supernet
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.objective import Objective, Outcome, outcome

PATHS = 2
"""Separates a strategy's random streams from those of the data stream with the same seed."""


@dataclass(frozen=True)
class Task:
    """Inputs of a strategy.

    Attributes:
        objective: the loss on labels.
        seed: of the paths.
        images: size of the training split.
        precision: compute precision; weights and losses stay float32.
        processes: those that share each batch.
    """

    supernet: Supernet
    space: SearchSpace
    objective: Objective
    seed: int
    images: int
    precision: torch.dtype = torch.float32
    processes: Processes = ALONE


class Strategy(ABC):
    """One way to train a supernet.

    All random draws of a step use `default_rng([seed, PATHS, step])`, so that a resumed run needs
    no generator state and all processes take the same paths. State kept between steps besides the
    supernet's weights (a mean teacher, a queue) is saved by `state` and loaded by `restore`.
    """

    settings_type: ClassVar[type[Named]]
    views: ClassVar[int] = 1
    """Augmentations of each image that a step needs: 1 or 2."""

    def __init__(self, task: Task, settings: Named) -> None:
        self.task = task
        self.supernet, self.space, self.objective = task.supernet, task.space, task.objective
        for module in self.supernet.modules():
            if isinstance(module, SlicedNorm):
                module.synchronised = task.processes.count > 1

    @abstractmethod
    def paths(self, step: int) -> tuple[Architecture, ...]:
        """The architectures that a step trains, in order."""

    @abstractmethod
    def learn(self, step: int, batch: Batch) -> Outcome:
        """Add the gradients of one step, or of one part of its batch, to the parameters."""

    @property
    def classifies(self) -> bool:
        """Whether the steps train the classifier; otherwise a linear probe is evaluated."""
        return True

    def classifier_steps(self, steps_per_epoch: int) -> int:
        """Final steps that train only the classifier, on labels; 0 if it was trained before."""
        return 0

    def trainable(self) -> Iterable[nn.Parameter]:
        """The parameters that are trained."""
        return self.supernet.parameters()

    def after_step(self, moved: Sequence[nn.Parameter]) -> None:  # noqa: B027 - nothing by default
        """Hook after the optimiser step, with the updated parameters."""

    def state(self) -> dict[str, Any]:
        """Checkpoint state besides the supernet."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027 - nothing to do by default
        """Restore from `state`."""

    def forward_path(
        self,
        supernet: Supernet,
        images_NCHW: Tensor,
        architecture: Architecture,
        update_statistics: bool = True,
    ) -> ForwardResult:
        """Run one forward pass in the task's precision; outputs are float32."""
        precision = self.task.precision
        if precision == torch.float32:
            return supernet_features(supernet, images_NCHW, architecture, update_statistics)
        with torch.autocast(images_NCHW.device.type, precision):
            seen = supernet_features(supernet, images_NCHW, architecture, update_statistics)
        return ForwardResult(seen.features_NC.float(), seen.logits_NK.float())

    def learn_labels(self, batch: Batch, architecture: Architecture, share: float = 1.0) -> Outcome:
        """Run forward and backward of one path with the loss on labels.

        `share` is a factor of the gradients alone.
        """
        logits_NK = self.forward_path(self.supernet, batch.images_NCHW, architecture).logits_NK
        loss = self.objective(logits_NK, batch)
        backward(loss if share == 1 else share * loss)
        return outcome(loss, logits_NK, batch)


def last_layers(supernet: Supernet) -> list[SharedAffine]:
    """The classifier's fully connected layer; several if the space has several classifiers."""
    return [head for head in supernet.positions[-1].modules() if isinstance(head, SharedAffine)]


def backward(loss: Tensor) -> None:
    """Accumulate the gradients of a loss."""
    loss.backward()  # type: ignore[no-untyped-call]


def mean_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """The mean loss and accuracy of several paths."""
    losses, accuracies = zip(*outcomes, strict=True)
    return Outcome(torch.stack(losses).mean(), torch.stack(accuracies).mean())
