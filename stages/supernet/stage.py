"""The supernet stage: images and a space in, shared weights out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.evaluate import recalibrate
from models.space import SearchSpace
from models.supernet import Supernet, extract
from models.training import Objective, Run
from models.weights import to_bytes
from stages.common.checkpoint import Checkpoint
from stages.common.files import rounded, write_bytes, write_json
from stages.common.learning import (
    Images,
    history_rows,
    inputs_fingerprint,
    learn_with_checkpoints,
)
from stages.common.params import read_section
from stages.common.runtime import prepare_machine
from stages.common.schemas import HISTORY
from stages.supernet.params import SupernetParams
from stages.supernet.strategies import STRATEGIES

_REPORT = 3
"""Keeps the generator of the reported networks apart from that of the trained paths."""


def train_supernet(
    space: SearchSpace, images: Images, params: SupernetParams, checkpoint: Checkpoint
) -> tuple[Supernet, Run]:
    """Train a supernet from random weights, or from where `checkpoint` stands."""
    generator = torch.Generator().manual_seed(params.seed)
    supernet = Supernet(space, generator)
    objective = Objective(space.classes, params.label_smoothing)
    strategy = STRATEGIES[params.strategy](supernet, space, objective, params.seed)
    stream = images.stream(params)
    run = Run(supernet, params.recipe(stream.steps_per_epoch), strategy.trainable(), strategy)
    learn_with_checkpoints("supernet", run, stream, strategy.learn, checkpoint)
    return supernet, run


def sampled_accuracies(
    supernet: Supernet, space: SearchSpace, images: Images, params: SupernetParams
) -> list[dict[str, Any]]:
    """Validation accuracy of random networks with recalibrated batch norms.

    It says whether the supernet learned; no choice is made from it.
    """
    rng = np.random.default_rng([params.seed, _REPORT])
    calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
    rows: list[dict[str, Any]] = []
    for _ in range(params.report_subnets):
        architecture = space.sample(rng)
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        rows.append(
            {
                "architecture_id": architecture.id,
                "short": architecture.short(),
                "val_accuracy": rounded(images.accuracy(subnet, "val", params.report_images)),
            }
        )
    return rows


def main() -> None:
    """Parse the flags, read, train, write."""
    parser = argparse.ArgumentParser(prog="python -m stages.supernet", description=__doc__)
    for flag in ("--params", "--space", "--data", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args()
    params = read_section(args.params, "supernet", SupernetParams)
    prepare_machine(params.threads, params.seed)
    images = Images.open(args.data)
    space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
    inputs = inputs_fingerprint("supernet", params, args.space, args.data)
    checkpoint = Checkpoint(args.out, inputs)

    supernet, run = train_supernet(space, images, params, checkpoint)
    history = {
        "space": space.name,
        "architectures": space.count(),
        "steps": history_rows(run),
        "subnets": sampled_accuracies(supernet, space, images, params),
    }
    write_bytes(args.out / "supernet.safetensors", to_bytes(supernet))
    write_json(args.out / "history.json", HISTORY, history)
    checkpoint.clear()
