"""Training of one network from its slice of the supernet, with a teacher's soft labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import nn

from core.checkpoint import Checkpoint
from core.distributed import ALONE, Processes
from data.stream import eval_batches
from models.nets.equivalence import EquivalenceCheck, compare, largest_logit
from models.nets.evaluate import device_of, logits, recalibrate
from models.nets.shared_cells import SlicedNorm
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet
from models.training.learning import (
    EVAL_BATCH,
    Images,
    NetworkParams,
    learn_with_checkpoints,
    spread,
)
from models.training.loop import Run
from models.training.objective import Objective, supervised_step
from models.training.settings import TrainParams


def train_network(
    start: nn.Module,
    images: Images,
    objective: Objective,
    params: NetworkParams,
    checkpoint: Checkpoint,
    processes: Processes = ALONE,
    title: str = "train",
) -> Run:
    """Train a network in place, from the weights it has; each of the processes calls this.

    It is trained on the device that its weights are on, and stays there.
    The result has the averaged weights and recalibrated batch norms: the average is often better
    and never much worse, and selecting between the two would overfit `val`.
    """
    stream = images.stream(params, (processes.rank, processes.count))
    run = Run(start, params.recipe(stream.steps_per_epoch), processes=processes)
    learn, device = supervised_step(start, objective, params.mixup), device_of(start)
    with joint_norms(start, processes):
        learn_with_checkpoints(
            title, run, lambda step: stream.at(step).to(device), learn, checkpoint
        )
    run.use_average()
    recalibrate(start, images.calibration(params.recalibration_batches, params.batch, params.seed))
    start.eval()
    return run


@contextmanager
def joint_norms(network: nn.Module, processes: Processes) -> Iterator[None]:
    """Context manager: batch norms normalise over all processes; no-op for one process.

    `torch.nn.SyncBatchNorm` does not support CPUs. The original batch norms are restored
    afterwards, with the trained values.
    """
    norms = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d) and processes.count > 1
    ]
    for parent, name, norm in norms:
        setattr(parent, name, _joint(norm))
    try:
        yield
    finally:
        for parent, name, norm in norms:
            setattr(parent, name, norm)


def _joint(norm: nn.BatchNorm2d) -> SlicedNorm:
    """A batch norm over all processes that shares parameters and running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    joint = SlicedNorm(norm.num_features)
    joint.weight, joint.bias = norm.weight, norm.bias
    joint.running_mean, joint.running_var = norm.running_mean, norm.running_var
    joint.synchronised = True
    return joint


def compare_slice(
    supernet: Supernet, subnet: Subnet, images: Images, params: TrainParams
) -> EquivalenceCheck:
    """Equivalence check of the slice against the supernet, on test images.

    Raises:
        EquivalenceError: they differ by more than rounding.
    """
    test = spread(images.test, params.slice.images)
    architecture = subnet.architecture
    shared_NK = logits(
        lambda x_NCHW: supernet.eval()(x_NCHW, architecture),
        eval_batches(test, images.info, EVAL_BATCH),
    )
    plain_NK = logits(subnet.eval(), eval_batches(test, images.info, EVAL_BATCH))
    limits = params.slice.scaled(largest_logit(shared_NK))
    labels_N = np.asarray(test.labels_N)
    check = compare("supernet slice", "subnet", shared_NK, plain_NK, labels_N, limits)
    check.require("Run the stage supernet again: its weights may be damaged.")
    return check
