"""Final training of one network on the device: against the CPU, repeated, and resumed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_check.compare import (
    STEPS,
    Trained,
    Weights,
    cast_inputs,
    computing_in,
    differences,
    weights_of,
)
from benchmarks.gpu_check.images import CLASSES, learnable_images
from benchmarks.gpu_check.record import Outcome, Value
from benchmarks.harness.presets import COMPACT
from core.checkpoint import Checkpoint
from models.nets.subnet import Subnet
from models.training.network import train_network
from models.training.objective import Objective
from models.training.settings import TrainParams
from models.training.supernet.training import CPU

BATCH, STOP, LAST = 32, 2, 4
"""Images per step; the step from which a training is resumed, and its last one."""
LESS_THAN_A_STEP = 1e-6
"""Epochs of a training whose length is its least number of steps."""


class KilledAt(Checkpoint):
    """Keeps the state of step `STOP` alone, as if the training had been killed after it."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Save the state of that step, and no other."""
        if state["step"] == STOP:
            super().save(dict(state))


def params_of(steps: int) -> TrainParams:
    """Settings of a training of some steps, with mixup, soft labels and averaged weights."""
    return TrainParams(
        epochs=LESS_THAN_A_STEP,
        min_steps=steps,
        batch=BATCH,
        learning_rate=0.05,
        warmup_fraction=0.0,
        mixup_alpha=0.2,
        distill_weight=0.5,
        recalibration_batches=2,
        checkpoint_every=STOP,
    )


def train_steps(
    steps: int,
    device: torch.device,
    folder: Path,
    kind: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.channels_last,
) -> Trained:
    """Train a network of `compact` as the stage `train` does, on a device.

    Args:
        steps: number of steps.
        device: where.
        folder: of the checkpoint; if it has one, the training continues from it.
        kind: type of the weights.
        layout: of the weights.
    """
    images, rng = learnable_images(), np.random.default_rng(0)
    architecture = COMPACT.load().sample(rng)
    with computing_in(kind):
        network = Subnet(architecture, torch.Generator().manual_seed(0))
    cast_inputs(network, kind)
    network.to(memory_format=layout)
    start, params = weights_of(network), params_of(steps)
    teacher_NK = rng.normal(0.0, 2.0, (len(images.train), CLASSES)).astype(np.float32)
    weight, temperature = params.distill_weight, params.temperature
    objective = Objective(CLASSES, 0.1, teacher_NK, weight, temperature)
    checkpoint = KilledAt(folder / "network", "same inputs")
    run = train_network(network.to(device), images, objective, params, checkpoint)
    return Trained(start, weights_of(network), [row["loss"] for row in run.history])


def check_network(device: torch.device) -> Outcome:
    """The same steps on the CPU and on the device, or in another memory layout of the CPU."""
    other, values = torch.contiguous_format if device == CPU else torch.channels_last, []
    for kind, steps in STEPS.items():
        runs = []
        for where, layout in ((CPU, torch.channels_last), (device, other)):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(train_steps(steps, where, Path(folder), kind, layout))
        values += differences(runs[0], runs[1], kind)
    return Outcome(values=tuple(values))


def check_repeats(device: torch.device) -> Outcome:
    """A repeated and a resumed training end with the same bytes."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as fresh:
        whole = train_steps(LAST, device, Path(folder)).end
        resumed = train_steps(LAST, device, Path(folder)).end  # from the state of step STOP
        again = train_steps(LAST, device, Path(fresh)).end
    return Outcome(
        values=(
            Value.of("tensors that differ when repeated", differing(whole, again), 0),
            Value.of("when resumed", differing(whole, resumed), 0),
        )
    )


def differing(one: Weights, other: Weights) -> int:
    """The number of tensors that are not equal."""
    return sum(not torch.equal(tensor, other[name]) for name, tensor in one.items())
