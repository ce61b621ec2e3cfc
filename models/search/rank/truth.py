"""Ground truth for a ranking: architectures trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from data.stream import Batch, TrainStream
from models.nets.evaluate import accuracy, recalibrate
from models.nets.subnet import Subnet
from models.search.rank.settings import RankParams
from models.space.architecture import Architecture
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective, supervised_step

T = TypeVar("T")


def evenly_spaced(ordered: Sequence[T], count: int) -> list[T]:
    """`count` evenly spaced items, including first and last; all if there are fewer."""
    if count >= len(ordered):
        return list(ordered)
    if count == 1:
        return [ordered[0]]
    return [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]


def train_from_scratch(
    architecture: Architecture,
    stream: TrainStream,
    calibration: Sequence[Tensor],
    held_out: Sequence[Batch],
    params: RankParams,
) -> float:
    """Train for `truth_steps` steps from scratch and return the held-out accuracy.

    A short training ranks architectures by learning speed as much as by final accuracy, so it is
    weak evidence, but it is independent of the supernet.
    """
    generator = torch.Generator().manual_seed(params.seed)
    network = Subnet(architecture, generator).to(memory_format=torch.channels_last)
    run = Run(network, Recipe(params.truth_steps, params.truth_learning_rate))
    train(run, stream.at, supervised_step(network, Objective(architecture.classes)))
    recalibrate(network, calibration)
    return accuracy(network.eval(), held_out)
