"""NLL and accuracy of architectures as slices of a frozen supernet, on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from data.stream import Batch, TrainStream, eval_batches
from models.nets.evaluate import recalibrate
from models.nets.supernet import Supernet, extract
from models.search.algorithms.base import Algorithm, SharedParams
from models.space.architecture import Architecture
from models.training.learning import EVAL_BATCH, Images, spread


@dataclass(frozen=True)
class Evaluation:
    """Result of evaluating an architecture on held-out images."""

    nll: float
    """Mean cross-entropy, in nats per image; observed by algorithms."""
    accuracy: float
    """Top-1 accuracy; only reported."""


Evaluate = Callable[[int, Sequence[Architecture]], list[Evaluation]]
"""Maps a step number and its architectures to their evaluations."""


def evaluation(algorithm: Algorithm, supernet: Supernet, images: Images) -> Evaluate:
    """Build the evaluation that the algorithm requires in every step."""
    params = algorithm.params
    if algorithm.evaluation_mode == "batch":
        held_out = TrainStream(images.val, images.info, params.batch, params.seed, augment=False)
        return supernet_evaluation(supernet, held_out)
    return common_evaluation(params, supernet, images)


def common_evaluation(params: SharedParams, supernet: Supernet, images: Images) -> Evaluate:
    """Evaluate recalibrated slices on `fitness_images` validation images, always the same."""
    subset = spread(images.val, params.fitness_images)
    return recalibrated_evaluation(
        supernet,
        images.calibration(params.recalibration_batches, params.batch, params.seed),
        list(eval_batches(subset, images.info, EVAL_BATCH)),
    )


def supernet_evaluation(supernet: Supernet, held_out: TrainStream) -> Evaluate:
    """Evaluate architectures as slices of the supernet, with a different batch in each step.

    Batch norms use batch statistics, because running statistics are not specific to an
    architecture. The supernet is set to training mode; its weights and statistics do not change.
    """
    supernet.train()

    @torch.no_grad()
    def evaluate(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
        batch = held_out.at(step)
        known: dict[str, Evaluation] = {}
        for architecture in architectures:
            if architecture.id not in known:
                logits_NK = supernet(batch.images_NCHW, architecture, update_statistics=False)
                nll = float(cross_entropy(logits_NK, batch.labels_N))
                accuracy = _correct(logits_NK, batch) / len(batch.labels_N)
                known[architecture.id] = Evaluation(nll, accuracy)
        return [known[architecture.id] for architecture in architectures]

    return evaluate


def recalibrated_evaluation(
    supernet: Supernet, calibration: Sequence[Tensor], held_out: Sequence[Batch]
) -> Evaluate:
    """Evaluate architectures on the same images in every step, with recalibrated batch norms.

    Results of different steps are comparable. The supernet does not change.

    Args:
        supernet: trained.
        calibration: training images, from which each architecture's statistics are recomputed.
        held_out: batches of the validation split; the mean is over all their images.
    """
    known: dict[str, Evaluation] = {}

    @torch.no_grad()
    def evaluate_one(architecture: Architecture) -> Evaluation:
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        subnet.eval()
        total, correct, images = 0.0, 0, 0
        for batch in held_out:
            logits_NK = subnet(batch.images_NCHW)
            total += float(cross_entropy(logits_NK, batch.labels_N, reduction="sum"))
            correct += _correct(logits_NK, batch)
            images += len(batch.labels_N)
        return Evaluation(total / images, correct / images)

    def evaluate(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
        for architecture in architectures:
            if architecture.id not in known:
                known[architecture.id] = evaluate_one(architecture)
        return [known[architecture.id] for architecture in architectures]

    return evaluate


def _correct(logits_NK: Tensor, batch: Batch) -> int:
    """Number of correct predictions."""
    return int((logits_NK.argmax(1) == batch.labels_N).sum())
