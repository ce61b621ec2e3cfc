"""The NLL of architectures as slices of a frozen supernet, on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from data.stream import Batch, TrainStream
from models.architecture import Architecture
from models.evaluate import recalibrate
from models.supernet import Supernet, extract

Evaluate = Callable[[int, Sequence[Architecture]], list[float]]
"""The step's number and its architectures, to their mean cross-entropies in nats."""


def supernet_evaluation(supernet: Supernet, held_out: TrainStream) -> Evaluate:
    """Judge architectures by slices of the supernet; every step has a batch of its own.

    Batch norms use the batch's statistics, because the running ones belong to no single
    architecture. Neither weights nor statistics of the supernet change.

    Args:
        supernet: trained; it is put into training mode.
        held_out: batches of the validation split, without augmentation.
    """
    supernet.train()

    @torch.no_grad()
    def evaluate(step: int, architectures: Sequence[Architecture]) -> list[float]:
        batch = held_out.at(step)
        known: dict[str, float] = {}
        for architecture in architectures:
            if architecture.id not in known:
                logits_NK = supernet(batch.images_NCHW, architecture, update_statistics=False)
                known[architecture.id] = float(cross_entropy(logits_NK, batch.labels_N))
        return [known[architecture.id] for architecture in architectures]

    return evaluate


def recalibrated_evaluation(
    supernet: Supernet, calibration: Sequence[Tensor], held_out: Sequence[Batch]
) -> Evaluate:
    """Judge architectures on the same images in every step, each with batch norms of its own.

    What one step finds compares with what another found. Nothing of the supernet changes.

    Args:
        supernet: trained.
        calibration: training images, from which every architecture's statistics are recomputed.
        held_out: batches of the validation split; the mean is over all their images.
    """
    known: dict[str, float] = {}

    @torch.no_grad()
    def judge(architecture: Architecture) -> float:
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        subnet.eval()
        total, images = 0.0, 0
        for batch in held_out:
            logits_NK = subnet(batch.images_NCHW)
            total += float(cross_entropy(logits_NK, batch.labels_N, reduction="sum"))
            images += len(batch.labels_N)
        return total / images

    def evaluate(step: int, architectures: Sequence[Architecture]) -> list[float]:
        for architecture in architectures:
            if architecture.id not in known:
                known[architecture.id] = judge(architecture)
        return [known[architecture.id] for architecture in architectures]

    return evaluate
