"""The supernet's weights learn in turn with the distribution, as PARSEC and FP-NAS have it.

Each step, before the distribution's own update (Casale et al., "PARSEC", section 3):

    w climbs along  sum_k omega_k * grad_w log p(y_train | X_train, w, A_k)

over the step's K sampled architectures, with omega_k proportional to p(y_train|X_train,w,A_k)^beta
on the same batch of TRAINING images. The architectures take turns, so the memory is that of one
network. This tailors the weights to one device's distribution; `docs/decisions` says why it is off
unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from data.stream import TrainStream
from models.architecture import Architecture
from models.batch import Batch
from models.supernet import Supernet
from models.training import Outcome, Recipe, Run, outcome
from stages.common.params import Params
from stages.search.algorithms.fp_nas import importance_weights
from stages.search.evaluation import Evaluate, Judgement

if TYPE_CHECKING:
    from stages.search.params import SearchParams

_NOTHING = 1e-4
"""An omega below this changes no weight that anybody could tell; its backward pass is spared."""


class WeightsSettings(Params):
    """How the supernet's weights learn during the search."""

    learn: bool = False
    """Whether they do at all (parsec, fp_nas)."""
    batch: int = Field(128, ge=2)
    """Training images per step."""
    learning_rate: float = Field(0.02, gt=0)
    """Of SGD with momentum, after a warm-up; it falls to zero along a cosine."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD."""
    weight_decay: float = Field(0.00005, ge=0)
    """Of convolutions and fully connected layers."""


class SharedWeights:
    """A supernet that learns from the architectures a search samples.

    Args:
        supernet: changed in place.
        train: augmented training batches, one a step.
        settings: how it learns.
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

    def before(self, evaluate: Evaluate) -> Evaluate:
        """Learn from every step's architectures, then judge them."""

        def judge(step: int, architectures: Sequence[Architecture]) -> list[Judgement]:
            self.learn(architectures)
            return evaluate(step, architectures)

        return judge

    def learn(self, architectures: Sequence[Architecture]) -> None:
        """One optimiser step on one training batch; repeats count as often as they were drawn.

        Raises:
            DivergedError: the loss left every useful range.
        """
        self.supernet.train()
        self.run.advance(self.train.at, lambda _, batch: self._gradients(architectures, batch))

    def _gradients(self, drawn: Sequence[Architecture], batch: Batch) -> Outcome:
        """Add every architecture's gradients, by its omega."""
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
        taught = {known: share for known, share in shares.items() if share > _NOTHING}
        total, losses, accuracies = sum(taught.values()), [], []
        for known, share in taught.items():
            loss, logits_NK = self._loss(distinct[known], batch, learning=True)
            (share * loss).backward()  # type: ignore[no-untyped-call]
            found = outcome(loss, logits_NK, batch)
            losses.append(share / total * found.loss)
            accuracies.append(share / total * found.accuracy)
        return Outcome(torch.stack(losses).sum(), torch.stack(accuracies).sum())

    def _loss(
        self, architecture: Architecture, batch: Batch, learning: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and logits; running statistics move only while learning."""
        with torch.set_grad_enabled(learning):
            logits_NK = self.supernet(batch.images_NCHW, architecture, update_statistics=learning)
            return cross_entropy(logits_NK, batch.labels_N), logits_NK

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return self.run.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.run.restore(state)


def shared_weights(
    supernet: Supernet, train: Callable[[int], TrainStream], params: SearchParams
) -> SharedWeights | None:
    """What learns beside the distribution; None where the weights stay as they are.

    Args:
        supernet: trained.
        train: gives training batches of so many images.
        params: the section `search`.
    """
    if not params.weights.learn:
        return None
    stream = train(params.weights.batch)
    return SharedWeights(supernet, stream, params.weights, params.steps, params.inverse_temperature)
