"""Architectures of the ranking benchmark, and their ground truth: each trained on its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from benchmarks.harness.release import accuracies, settings
from benchmarks.harness.runs import Row, Runs
from core.files import rounded
from core.process import prepare_machine
from core.settings import Params
from data.stream import TrainStream
from models.nets.evaluate import recalibrate
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.space.costs import block_flops, depth, flops, parameters
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective, supervised_step

HERE = Path(__file__).resolve().parent
SCHEMA = "netwright/benchmark/ranking"
_DRAW = 0
"""Seed of the architectures: every run evaluates the same ones."""


class RankingParams(Params):
    """The benchmark's settings; its own `params.yaml` says what they are."""

    architectures: int = Field(ge=4)
    truth_epochs: float = Field(gt=0)
    truth_threads: int = Field(ge=1)
    batch: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    recalibration_batches: int = Field(ge=1)
    supernet_seconds: float = Field(gt=0)
    supernet_threads: int = Field(ge=1)
    bootstrap: int = Field(ge=1)


def read_params() -> RankingParams:
    """The benchmark's settings."""
    return settings(HERE / "params.yaml", "ranking", RankingParams)


def load_space(images: Images) -> SearchSpace:
    """The benchmark's space for a prepared data set."""
    shape, classes = images.info.image_shape, len(images.info.classes)
    return SearchSpace.load(HERE / "space.yaml", shape, classes)


def architectures(space: SearchSpace, count: int) -> list[Architecture]:
    """The smallest and the largest by FLOPs, and uniform samples; `count` different ones."""
    rng = np.random.default_rng(_DRAW)
    found = dict.fromkeys([space.extreme(block_flops), space.extreme(block_flops, largest=True)])
    while len(found) < count:
        found[space.sample(rng)] = None
    return list(found)


def train_from_scratch(
    architecture: Architecture, images: Images, params: RankingParams, seed: int
) -> Row:
    """Accuracy on validation and test images together, after training from scratch."""
    stream = TrainStream(images.train, images.info, params.batch, seed, augment=True)
    steps = round(params.truth_epochs * stream.steps_per_epoch)
    network = Subnet(architecture, torch.Generator().manual_seed(seed))
    network.to(memory_format=torch.channels_last)
    run = Run(network, Recipe(steps, params.learning_rate, weight_decay=5e-5))
    train(run, stream.at, supervised_step(network, Objective(architecture.classes)))
    recalibrate(network, images.calibration(params.recalibration_batches, 256, seed))
    return {"accuracy": rounded(accuracies(network, images)["unseen"])}


def ground_truth(data: Path, params: RankingParams, seed: int, work: Path) -> Row:
    """Train every architecture with a seed; those finished before are not repeated."""
    prepare_machine(params.truth_threads, seed)
    images = Images.read(data)
    runs = Runs(work, data / "dataset.json", params.model_dump(), seed)
    rows = []
    for one in architectures(load_space(images), params.architectures):
        found = runs.get(one.id, partial(train_from_scratch, one, images, params, seed))
        costs = {"depth": depth(one), "flops": flops(one), "parameters": parameters(one)}
        words = {"architecture_id": one.id, "short": one.short()}
        rows.append({"architecture": one.to_json(), **words, **costs, **found})
    return {"seed": seed, "rows": rows}
