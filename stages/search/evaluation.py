"""NLL and accuracy of architectures as slices of a frozen supernet, on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from data.stream import Batch, TrainStream
from models.architecture import Architecture
from models.evaluate import recalibrate
from models.supernet import Supernet, extract


@dataclass(frozen=True)
class Judgement:
    """What held-out images say of an architecture.

    Attributes:
        nll: mean cross-entropy, in nats per image; what algorithms observe.
        accuracy: share of the images that it answers rightly; for people.
    """

    nll: float
    accuracy: float


Evaluate = Callable[[int, Sequence[Architecture]], list[Judgement]]
"""The step's number and its architectures, to what is found of each."""


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
    def evaluate(step: int, architectures: Sequence[Architecture]) -> list[Judgement]:
        batch = held_out.at(step)
        known: dict[str, Judgement] = {}
        for architecture in architectures:
            if architecture.id not in known:
                logits_NK = supernet(batch.images_NCHW, architecture, update_statistics=False)
                nll = float(cross_entropy(logits_NK, batch.labels_N))
                known[architecture.id] = Judgement(
                    nll, _right(logits_NK, batch) / len(batch.labels_N)
                )
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
    known: dict[str, Judgement] = {}

    @torch.no_grad()
    def judge(architecture: Architecture) -> Judgement:
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        subnet.eval()
        total, right, images = 0.0, 0, 0
        for batch in held_out:
            logits_NK = subnet(batch.images_NCHW)
            total += float(cross_entropy(logits_NK, batch.labels_N, reduction="sum"))
            right += _right(logits_NK, batch)
            images += len(batch.labels_N)
        return Judgement(total / images, right / images)

    def evaluate(step: int, architectures: Sequence[Architecture]) -> list[Judgement]:
        for architecture in architectures:
            if architecture.id not in known:
                known[architecture.id] = judge(architecture)
        return [known[architecture.id] for architecture in architectures]

    return evaluate


def _right(logits_NK: Tensor, batch: Batch) -> int:
    """How many images are answered rightly."""
    return int((logits_NK.argmax(1) == batch.labels_N).sum())
