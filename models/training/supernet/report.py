"""Evaluation of a trained supernet for the history."""

from __future__ import annotations

import numpy as np

from core.files import rounded
from data.stream import eval_batches
from models.nets.evaluate import recalibrate
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet, extract
from models.space.space import SearchSpace
from models.training.history import SampledNetwork
from models.training.learning import EVAL_BATCH, Images, spread
from models.training.probe import probe_subnet
from models.training.supernet.settings import SupernetParams

_REPORT = 3
"""Separates the random stream of the reported networks from that of the trained paths."""


def sampled_accuracies(
    supernet: Supernet,
    space: SearchSpace,
    images: Images,
    params: SupernetParams,
    classifies: bool = True,
) -> tuple[SampledNetwork, ...]:
    """Validation accuracy of random networks with recalibrated batch norms.

    A diagnostic only; no selection depends on it.

    Args:
        supernet: trained.
        space: its architectures.
        images: the data set.
        params: number of networks and images.
        classifies: whether the supernet's classifier was trained; otherwise a linear probe on each
            network's features replaces it.
    """
    rng = np.random.default_rng([params.seed, _REPORT])
    calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
    rows = []
    for _ in range(params.report_subnets):
        architecture = space.sample(rng)
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        if classifies:
            accuracy = images.accuracy(subnet, "val", params.report_images)
        else:
            accuracy = probe_accuracy(subnet, images, params)
        rows.append(
            SampledNetwork(
                architecture_id=architecture.id,
                short=architecture.short(),
                val_accuracy=rounded(accuracy),
            )
        )
    return tuple(rows)


def probe_accuracy(subnet: Subnet, images: Images, params: SupernetParams) -> float:
    """Validation accuracy of a linear classifier on the network's frozen features."""
    train = spread(images.train, params.probe_images)
    held_out = spread(images.val, params.report_images)
    return probe_subnet(
        subnet,
        eval_batches(train, images.info, EVAL_BATCH),
        eval_batches(held_out, images.info, EVAL_BATCH),
    )
