"""Quantisation-aware fine-tuning by self-distillation from the float network.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.nets.batch import Batch
from models.training.loop import Learn, Objective, Outcome, distillation_loss, outcome


def self_distillation_step(
    rounded: Callable[[Tensor], Tensor],
    original: Callable[[Tensor], Tensor],
    objective: Objective,
) -> Learn:
    """Step function for a fake-quantised network with its float original as the teacher.

    Args:
        rounded: the trained network, from `fake_quantize`.
        original: the float network, in evaluation mode.
        objective: `distill_weight` and `temperature` are those of the self-distillation; it must
            have no teacher of its own.
    """

    def learn(_: int, batch: Batch) -> Outcome:
        logits_NK = rounded(batch.images_NCHW)
        with torch.no_grad():
            original_NK = original(batch.images_NCHW)
        divergence = distillation_loss(logits_NK, original_NK, objective.temperature)
        share = objective.distill_weight
        loss = (1 - share) * objective(logits_NK, batch) + share * divergence
        loss.backward()  # type: ignore[no-untyped-call]
        return outcome(loss, logits_NK, batch)

    return learn
