"""Quantisation-aware fine-tuning: a network learns to answer, rounded, as it did before.

The teacher is the network itself in float, on the same augmented images: what rounding changed is
the only thing there is to learn. Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.batch import Batch
from models.training import Learn, Objective, Outcome, outcome, softened


def self_distilled(
    rounded: Callable[[Tensor], Tensor],
    original: Callable[[Tensor], Tensor],
    objective: Objective,
) -> Learn:
    """The `learn` of a network with rounding in it, taught by the one it came from.

    Args:
        rounded: the network that learns, from `fake_quantised`.
        original: the network in float, in evaluation mode.
        objective: its `distill_weight` is the share of the original's answers in the loss, and
            its `temperature` theirs; teacher's logits it must have none.
    """

    def learn(_: int, batch: Batch) -> Outcome:
        logits_NK = rounded(batch.images_NCHW)
        with torch.no_grad():
            original_NK = original(batch.images_NCHW)
        divergence = softened(logits_NK, original_NK, objective.temperature)
        share = objective.distill_weight
        loss = (1 - share) * objective(logits_NK, batch) + share * divergence
        loss.backward()  # type: ignore[no-untyped-call]
        return outcome(loss, logits_NK, batch)

    return learn
