"""Training objectives: cross-entropy, knowledge distillation and mixup.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from data.stream import Batch

_MIXTURE = 4
"""Separates mixup's random stream from the data stream of the same seed."""


class Outcome(NamedTuple):
    """Loss and accuracy of one step."""

    loss: Tensor
    """Scalar, detached."""
    accuracy: Tensor
    """Top-1 accuracy on the augmented batch; scalar."""


Learn = Callable[[int, Batch], Outcome]
"""Step function: compute the loss of a (partial) batch and accumulate its gradients."""


class Mixture(NamedTuple):
    """Mixup of a batch: weight `share` for each image, the rest for its partner."""

    share: float
    partners_N: Tensor

    def blend(self, rows: Tensor) -> Tensor:
        """Mix a tensor with one row per image."""
        return self.share * rows + (1 - self.share) * rows[self.partners_N]


@dataclass(frozen=True)
class Mixup:
    """Mixup of images and labels (Zhang et al. 2018, "mixup"), with shares of Beta(alpha, alpha).

    Partners are neighbours in the (shuffled) batch, so a batch split over processes or into parts
    of even size is mixed like the undivided one.
    """

    alpha: float
    seed: int

    def at(self, step: int, images: int) -> Mixture:
        """The mixture of a step, a pure function; of an odd number of images the last is kept."""
        rng = np.random.default_rng([self.seed, _MIXTURE, step])
        drawn = float(rng.beta(self.alpha, self.alpha))
        partners_N = torch.arange(images) ^ 1
        # Partners are symmetric, so `drawn` and `1 - drawn` give the same images. The larger one
        # keeps each image's own label dominant, which the accuracy counts.
        return Mixture(max(drawn, 1 - drawn), partners_N.clamp_(max=images - 1))


@dataclass(frozen=True)
class Objective:
    """Cross-entropy with optional knowledge distillation.

    `(1 - weight) * CE + weight * T^2 * KL(teacher || student)`, both softened by temperature T
    (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2).

    Attributes:
        teacher_logits_NK: cached logits for every training image, in order.
        distill_weight: weight of the distillation term, 0 to 1.
        temperature: T.
        teacher: computes logits (N, K) of the augmented and mixed images at every step, on the
            CPU wherever the student is; replaces `teacher_logits_NK`.
    """

    classes: int
    label_smoothing: float = 0.0
    teacher_logits_NK: npt.NDArray[np.float32] | None = None
    distill_weight: float = 0.0
    temperature: float = 1.0
    teacher: Callable[[Tensor], Tensor] | None = None

    def __call__(self, logits_NK: Tensor, batch: Batch, mixture: Mixture | None = None) -> Tensor:
        """The mean loss of the student's logits for a batch, a scalar.

        Args:
            logits_NK: of the student.
            batch: the images, mixed if `mixture` is given, and their original labels.
            mixture: the mixup of the images.
        """
        loss = self._hard_loss(logits_NK, batch.labels_N, batch.weights_N)
        if mixture is not None:
            partners_N = mixture.partners_N
            weights_N = None if batch.weights_N is None else batch.weights_N[partners_N]
            other = self._hard_loss(logits_NK, batch.labels_N[partners_N], weights_N)
            loss = mixture.share * loss + (1 - mixture.share) * other
        if self.distill_weight == 0 or (self.teacher is None and self.teacher_logits_NK is None):
            return loss
        teacher_NK = self._teacher_logits(batch, mixture)
        divergence = distillation_loss(logits_NK, teacher_NK, self.temperature)
        return (1 - self.distill_weight) * loss + self.distill_weight * divergence

    def _hard_loss(self, logits_NK: Tensor, labels_N: Tensor, weights_N: Tensor | None) -> Tensor:
        smoothing = self.label_smoothing
        if weights_N is None:
            return functional.cross_entropy(logits_NK, labels_N, label_smoothing=smoothing)
        # Not divided by the weights' sum in the batch: they have mean 1 over the split, and parts
        # of a batch must add up to the whole.
        losses_N = functional.cross_entropy(
            logits_NK, labels_N, label_smoothing=smoothing, reduction="none"
        )
        return (weights_N * losses_N).mean()

    @torch.no_grad()
    def _teacher_logits(self, batch: Batch, mixture: Mixture | None) -> Tensor:
        """The teacher's logits (N, K)."""
        if self.teacher is not None:
            return self.teacher(batch.images_NCHW.cpu()).to(batch.images_NCHW.device)
        assert self.teacher_logits_NK is not None
        rows_NK = torch.from_numpy(self.teacher_logits_NK[batch.indices_N.numpy()])
        rows_NK = rows_NK.to(batch.images_NCHW.device)
        if mixture is None or mixture.share == 1:
            return rows_NK
        # Cached logits are of unmixed images: mix the softened probabilities instead.
        soft_NK = functional.log_softmax(rows_NK / self.temperature, 1)
        own_NK = soft_NK + math.log(mixture.share)
        partner_NK = soft_NK[mixture.partners_N] + math.log(1 - mixture.share)
        return self.temperature * torch.logaddexp(own_NK, partner_NK)


def distillation_loss(logits_NK: Tensor, teacher_logits_NK: Tensor, temperature: float) -> Tensor:
    """`T^2 * KL(teacher || student)`, both softened by temperature T: batch mean, a scalar."""
    divergence = functional.kl_div(
        functional.log_softmax(logits_NK / temperature, 1),
        functional.log_softmax(teacher_logits_NK / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence


def supervised_step(
    model: Callable[[Tensor], Tensor], objective: Objective, mixup: Mixup | None = None
) -> Learn:
    """Step function for supervised training of a network, images to logits."""

    def learn(step: int, batch: Batch) -> Outcome:
        mixture = None
        if mixup is not None:
            mixture = mixup.at(step, len(batch.labels_N))
            batch = batch._replace(images_NCHW=mixture.blend(batch.images_NCHW))
        logits_NK = model(batch.images_NCHW)
        loss = objective(logits_NK, batch, mixture)
        loss.backward()  # type: ignore[no-untyped-call]
        return outcome(loss, logits_NK, batch)

    return learn


def outcome(loss: Tensor, logits_NK: Tensor, batch: Batch) -> Outcome:
    """Detached loss and accuracy of a step."""
    correct_N = logits_NK.detach().argmax(1) == batch.labels_N
    return Outcome(loss.detach(), correct_N.float().mean())
