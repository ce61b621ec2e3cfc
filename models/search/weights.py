"""Training of the supernet's weights alternately with the distribution, as in PARSEC and FP-NAS.

Each step, before the distribution's own update (Casale et al., "PARSEC", section 3):

    w ascends along  sum_k omega_k * grad_w log p(y_train | X_train, w, A_k)

over the step's K sampled architectures, with omega_k proportional to p(y_train|X_train,w,A_k)^beta
on the same batch of TRAINING images. The architectures are processed in turn, so the memory is that
of one network. This adapts the weights to one device's distribution; see `docs/decisions` for why
it is off by default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.settings import Params
from data.stream import Batch, TrainStream
from models.nets.supernet import Supernet
from models.search.algorithms.fp_nas import importance_weights
from models.search.evaluation import Evaluate, Evaluation
from models.space.architecture import Architecture
from models.training.loop import Outcome, Recipe, Run, outcome

if TYPE_CHECKING:
    from models.search.settings import SearchParams

_MIN_OMEGA = 1e-4
"""The backward pass is skipped for a smaller omega, whose effect is negligible."""


class WeightsSettings(Params):
    """How the supernet's weights are trained during the search."""

    learn: bool = False
    """Whether they are trained (parsec, fp_nas)."""
    batch: int = Field(128, ge=2)
    """Training images per step."""
    learning_rate: float = Field(0.02, gt=0)
    """Of SGD with momentum, with warm-up and cosine decay to zero."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(0.00005, ge=0)
    """Weight decay of convolutions and fully connected layers."""


class SharedWeights:
    """Trains a supernet on the architectures sampled by a search.

    Args:
        supernet: changed in place.
        train: augmented training batches, one per step.
        settings: training settings.
        steps: of the search.
        inverse_temperature: beta.
    """

    def __init__(
        self,
        supernet: Supernet,
        train: TrainStream,
        settings: WeightsSettings,
        steps: int,
        inverse_temperature: float,
    ) -> None:
        self.supernet, self.train, self.beta = supernet, train, inverse_temperature
        recipe = Recipe(
            steps=steps,
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.run = Run(supernet, recipe)

    def train_before(self, evaluate: Evaluate) -> Evaluate:
        """Wrap an evaluation to train on each step's architectures before evaluating them."""

        def wrapped(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
            self.learn(architectures)
            return evaluate(step, architectures)

        return wrapped

    def learn(self, architectures: Sequence[Architecture]) -> None:
        """One optimiser step on one training batch; repeats count as often as they were drawn.

        Raises:
            UserError: the loss diverged.
        """
        self.supernet.train()
        self.run.advance(self.train.at, lambda _, batch: self._gradients(architectures, batch))

    def _gradients(self, drawn: Sequence[Architecture], batch: Batch) -> Outcome:
        """Accumulate the architectures' gradients, weighted by omega."""
        distinct = {architecture.id: architecture for architecture in drawn}
        nll = {known: float(self._loss(one, batch)[0]) for known, one in distinct.items()}
        omega = importance_weights(
            [nll[one.id] for one in drawn],
            [0.0] * len(drawn),
            len(batch.labels_N),
            self.beta,
            cost_weight=0.0,
        )
        shares = dict.fromkeys(distinct, 0.0)
        for one, weight in zip(drawn, omega, strict=True):
            shares[one.id] += float(weight)
        trained = {known: share for known, share in shares.items() if share > _MIN_OMEGA}
        total, losses, accuracies = sum(trained.values()), [], []
        for known, share in trained.items():
            loss, logits_NK = self._loss(distinct[known], batch, learning=True)
            (share * loss).backward()  # type: ignore[no-untyped-call]
            found = outcome(loss, logits_NK, batch)
            losses.append(share / total * found.loss)
            accuracies.append(share / total * found.accuracy)
        return Outcome(torch.stack(losses).sum(), torch.stack(accuracies).sum())

    def _loss(
        self, architecture: Architecture, batch: Batch, learning: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and logits; running statistics are only updated while learning."""
        with torch.set_grad_enabled(learning):
            logits_NK = self.supernet(batch.images_NCHW, architecture, update_statistics=learning)
            return cross_entropy(logits_NK, batch.labels_N), logits_NK

    def state(self) -> dict[str, Any]:
        """Checkpoint state."""
        return self.run.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        self.run.restore(state)


def shared_weights(
    supernet: Supernet, train: Callable[[int], TrainStream], params: SearchParams
) -> SharedWeights | None:
    """Build the training of the shared weights; None if it is disabled.

    Args:
        supernet: trained.
        train: returns training batches of a given size.
        params: the section `search`.
    """
    if not params.weights.learn:
        return None
    stream = train(params.weights.batch)
    return SharedWeights(supernet, stream, params.weights, params.steps, params.inverse_temperature)
