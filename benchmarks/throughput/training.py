"""The jobs of the benchmark: trainings of one network, and when each of them ran."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from benchmarks.harness.presets import CLASSES, COMPACT, random_images
from data.stream import TrainStream
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective, supervised_step

WARM_UP = 3
"""Steps before the time is taken: the first ones allocate memory."""


@dataclass(frozen=True)
class Training:
    """A training of `steps` steps after the warm-up."""

    architecture: Architecture
    seed: int
    steps: int


@dataclass(frozen=True)
class Span:
    """When a training ran, in seconds of the machine's monotonic clock, and its last loss."""

    began_s: float
    ended_s: float
    loss: float


def open_stream(batch: int) -> TrainStream:
    """Random images with the shape of Fashion-MNIST."""
    return random_images(COMPACT.image_shape, batch)


def run_training(stream: TrainStream, job: Training) -> Span:
    """Train a network with the project's loop, batches and augmentation included."""
    network = Subnet(job.architecture, torch.Generator().manual_seed(job.seed))
    steps = WARM_UP + job.steps
    run = Run(network, Recipe(steps, 0.05, ema_decay=0.99, window=steps))
    began: list[float] = []

    def report(step: int, _: dict[str, float]) -> None:
        if step == WARM_UP:
            began.append(time.monotonic())

    train(run, stream.at, supervised_step(network, Objective(CLASSES), None), report=report)
    return Span(began[0], time.monotonic(), run.history[-1]["loss"])
