"""What a training strategy is: which paths of the supernet a step trains, and with what loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import nn

from models.batch import Batch
from models.space import SearchSpace
from models.supernet import Supernet
from models.training import Objective, Outcome


class Strategy(ABC):
    """One way to train a supernet.

    Everything random in a step is drawn from `default_rng([seed, step])`, so that a resumed run
    needs no generator's state. What a strategy carries from step to step besides the supernet's
    weights (a mean teacher, a queue) goes through `state` and `restore`.

    Args:
        supernet: what is trained.
        space: its architectures.
        objective: the loss on labels.
        seed: of the paths.
    """

    name: ClassVar[str]

    def __init__(
        self, supernet: Supernet, space: SearchSpace, objective: Objective, seed: int
    ) -> None:
        self.supernet, self.space, self.objective, self.seed = supernet, space, objective, seed

    @abstractmethod
    def learn(self, step: int, batch: Batch) -> Outcome:
        """Add one step's gradients to the supernet's parameters.

        Args:
            step: counted from 0.
            batch: augmented training images with their labels.
        """

    def trainable(self) -> Iterable[nn.Parameter]:
        """The parameters that learn."""
        return self.supernet.parameters()

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides the supernet."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027 - nothing to do by default
        """Go back to what `state` gave."""
