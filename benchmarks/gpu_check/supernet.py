"""A supernet's steps on the device against those on the CPU."""

from __future__ import annotations

import dataclasses
from statistics import fmean

import torch

from benchmarks.gpu_check.compare import (
    STEPS,
    Trained,
    cast_inputs,
    computing_in,
    differences,
    weights_of,
)
from benchmarks.gpu_check.images import learnable_images
from benchmarks.gpu_check.record import Outcome, Value
from benchmarks.harness.presets import COMPACT
from core.distributed import ALONE, Processes
from models.nets.shared_cells import SlicedNorm
from models.training.loop import Run, train
from models.training.strategies.pi import CrossPath
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import CPU, build, feed, fit_last_layer

BATCH = 32
_LONG, _WINDOW = 60, 10
"""Steps in bfloat16, and how many of them a mean loss is over."""
FALLEN, FIRST_APART, LAST_APART = 0.9, 0.02, 0.25
"""Limits in bfloat16: last over first mean loss; relative difference to float32 of the first loss,
and of the last mean loss. On a CPU 0.65, 0.0004 and 0.09."""


def params_of(strategy: str, channels_last: bool, precision: str = "float32") -> SupernetParams:
    """Settings of a short training."""
    return SupernetParams.model_validate(
        {
            "strategy": strategy,
            "batch": BATCH,
            "learning_rate": 0.05,
            "warmup_fraction": 0.0,
            "channels_last": channels_last,
            "precision": precision,
        }
    )


def train_steps(
    params: SupernetParams,
    steps: int,
    device: torch.device,
    kind: torch.dtype = torch.float32,
    processes: Processes = ALONE,
    joint: bool = False,
) -> Trained:
    """Train a supernet of `compact` for some steps; without labels also its last layer.

    Args:
        params: settings.
        steps: number of steps.
        device: where.
        kind: type of the weights.
        processes: those that share every batch.
        joint: normalise by the process group's statistics even in a group of one.
    """
    images = learnable_images()
    with computing_in(kind):
        strategy = build(COMPACT.load(), images, params, device, processes)
    supernet = strategy.supernet
    cast_inputs(supernet, kind)
    if isinstance(strategy, CrossPath):  # its mean teacher was copied without the cast
        cast_inputs(strategy.teacher.supernet, kind)
    for module in supernet.modules():
        if joint and isinstance(module, SlicedNorm):
            module.synchronised = True
    start = weights_of(supernet)
    stream = images.stream(params, (processes.rank, processes.count))
    recipe = dataclasses.replace(params.recipe(stream.steps_per_epoch), steps=steps, window=1)
    run = Run(supernet, recipe, strategy.trainable(), strategy, processes)
    train(run, feed(stream, strategy.views, params, device), strategy.learn)
    if not strategy.classifies:
        fit_last_layer(strategy.task, feed(stream, 1, params, device), steps)
    return Trained(start, weights_of(supernet), [row["loss"] for row in run.history])


def check_strategy(strategy: str, device: torch.device) -> Outcome:
    """The same steps on the CPU and on the device, or in another memory layout of the CPU."""
    values = []
    for kind, steps in STEPS.items():
        other = params_of(strategy, channels_last=device != CPU)
        one = train_steps(params_of(strategy, channels_last=True), steps, CPU, kind)
        values += differences(one, train_steps(other, steps, device, kind), kind)
    return Outcome(values=tuple(values))


def check_bfloat16(device: torch.device) -> Outcome:
    """The loss falls in bfloat16, from and to about where it does in float32."""
    losses = {
        precision: train_steps(params_of("spos", True, precision), _LONG, device).losses
        for precision in ("float32", "bfloat16")
    }
    whole, half = losses.values()
    begin, end, right = fmean(half[:_WINDOW]), fmean(half[-_WINDOW:]), fmean(whole[-_WINDOW:])
    return Outcome(
        values=(
            Value.of("last over first loss", end / begin, FALLEN),
            Value.of("first loss off by a share of", abs(half[0] / whole[0] - 1), FIRST_APART),
            Value.of("last losses off by a share of", abs(end / right - 1), LAST_APART),
        )
    )
