"""What a network learns from: labels, a teacher's soft labels, and mixtures of images.

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

from models.batch import Batch, Part

_MIXTURE = 4
"""Keeps a mixture's generator apart from the data stream's of the same seed."""


class Outcome(NamedTuple):
    """What one step found."""

    loss: Tensor
    """Scalar, detached."""
    accuracy: Tensor
    """Fraction of the batch for which the answer was right, on the augmented images; scalar."""


Learn = Callable[[int, Batch], Outcome]
"""Compute the loss of a step, or of one part of its batch, and add its gradients."""


class Mixture(NamedTuple):
    """How the images of a batch are mixed: `share` of themselves, the rest of their partners."""

    share: float
    partners_N: Tensor

    def blend(self, rows: Tensor) -> Tensor:
        """Mix anything that has one row an image."""
        return self.share * rows + (1 - self.share) * rows[self.partners_N]


@dataclass(frozen=True)
class Mixup:
    """Learn from mixtures of two images and of their labels (Zhang et al. 2018, "mixup").

    Partners are neighbours in the batch, whose order is random already: so a batch that processes
    share, or that is taken in parts, is mixed as the undivided one wherever its parts are even.

    Attributes:
        alpha: of the symmetric Beta distribution from which each step draws its share.
        seed: of those draws.
    """

    alpha: float
    seed: int

    def at(self, step: int, images: int) -> Mixture:
        """The mixture of a step, a pure function of seed and step.

        Args:
            step: counted from 0.
            images: in the batch; the last of an odd number stays as it is.
        """
        rng = np.random.default_rng([self.seed, _MIXTURE, step])
        drawn = float(rng.beta(self.alpha, self.alpha))
        partners_N = torch.arange(images) ^ 1
        # As partners mix with each other, `drawn` and `1 - drawn` give the same images; with the
        # larger one an image's own label stays the right answer.
        return Mixture(max(drawn, 1 - drawn), partners_N.clamp_(max=images - 1))


@dataclass(frozen=True)
class Objective:
    """Cross-entropy, mixed with a teacher's soft labels where there are any.

    `(1 - weight) * CE + weight * T^2 * KL(teacher || student)`, both softened by temperature T
    (Hinton et al. 2015, section 2).

    Attributes:
        classes: how many there are.
        label_smoothing: share of the target spread over all classes.
        teacher_logits_NK: for every training image, in order; None where there are none.
        distill_weight: share of the teacher in the loss, 0 to 1.
        temperature: T.
        teacher: gives logits (N, K) of the very images that the student sees, augmented and mixed;
            it is asked at every step, instead of `teacher_logits_NK`.
    """

    classes: int
    label_smoothing: float = 0.0
    teacher_logits_NK: npt.NDArray[np.float32] | None = None
    distill_weight: float = 0.0
    temperature: float = 1.0
    teacher: Callable[[Tensor], Tensor] | None = None

    def __call__(self, logits_NK: Tensor, batch: Batch, mixture: Mixture | None = None) -> Tensor:
        """The batch's mean loss, a scalar.

        Args:
            logits_NK: the student's, of the images in `batch`.
            batch: what it saw; of mixed images, with the labels they had before.
            mixture: how those were mixed; None if they were not.
        """
        loss = self._hard(logits_NK, batch.labels_N)
        if mixture is not None:
            other = self._hard(logits_NK, batch.labels_N[mixture.partners_N])
            loss = mixture.share * loss + (1 - mixture.share) * other
        if self.distill_weight == 0 or (self.teacher is None and self.teacher_logits_NK is None):
            return loss
        divergence = softened(logits_NK, self._taught(batch, mixture), self.temperature)
        return (1 - self.distill_weight) * loss + self.distill_weight * divergence

    def _hard(self, logits_NK: Tensor, labels_N: Tensor) -> Tensor:
        return functional.cross_entropy(logits_NK, labels_N, label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def _taught(self, batch: Batch, mixture: Mixture | None) -> Tensor:
        """The teacher's logits (N, K)."""
        if self.teacher is not None:
            return self.teacher(batch.images_NCHW)
        assert self.teacher_logits_NK is not None
        rows_NK = torch.from_numpy(self.teacher_logits_NK[batch.indices_N.numpy()])
        if mixture is None or mixture.share == 1:
            return rows_NK
        # Nobody asked it about the mixture: take the mixture of what it said of both, softened.
        soft_NK = functional.log_softmax(rows_NK / self.temperature, 1)
        mine_NK = soft_NK + math.log(mixture.share)
        theirs_NK = soft_NK[mixture.partners_N] + math.log(1 - mixture.share)
        return self.temperature * torch.logaddexp(mine_NK, theirs_NK)


def softened(logits_NK: Tensor, teacher_logits_NK: Tensor, temperature: float) -> Tensor:
    """`T^2 * KL(teacher || student)`, both softened by temperature T: the batch's mean, a scalar.

    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    divergence = functional.kl_div(
        functional.log_softmax(logits_NK / temperature, 1),
        functional.log_softmax(teacher_logits_NK / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence


def supervised(
    model: Callable[[Tensor], Tensor], objective: Objective, mixup: Mixup | None = None
) -> Learn:
    """The `learn` of an ordinary network: one forward, one backward.

    Args:
        model: images to logits.
        objective: the loss.
        mixup: how batches are mixed; None leaves them as they are.
    """

    def learn(step: int, batch: Batch) -> Outcome:
        mixture = None
        if mixup is not None:
            mixture = mixup.at(step, len(batch.labels_N))
            images_NCHW = mixture.blend(batch.images_NCHW)
            batch = Part(images_NCHW, batch.labels_N, batch.indices_N, None)
        logits_NK = model(batch.images_NCHW)
        loss = objective(logits_NK, batch, mixture)
        loss.backward()  # type: ignore[no-untyped-call]
        return outcome(loss, logits_NK, batch)

    return learn


def outcome(loss: Tensor, logits_NK: Tensor, batch: Batch) -> Outcome:
    """Loss and accuracy of a step, detached from its graph."""
    correct_N = logits_NK.detach().argmax(1) == batch.labels_N
    return Outcome(loss.detach(), correct_N.float().mean())
