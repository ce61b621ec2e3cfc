"""Ground truth of the ranking benchmark: architectures trained on their own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from benchmarks.harness.release import unseen
from benchmarks.harness.runs import Row, Runs
from benchmarks.ranking.setup import RankingParams, architectures, load_space
from core.files import rounded
from core.process import prepare_machine
from data.stream import TrainStream
from models.nets.evaluate import recalibrate
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.space.costs import depth, flops, parameters
from models.training.learning import Images
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective, supervised_step


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
    val, test = images.accuracy(network, "val"), images.accuracy(network, "test")
    return {"accuracy": rounded(unseen(images, val, test))}


def ground_truth(data: Path, params: RankingParams, seed: int, work: Path) -> Row:
    """Train every architecture with a seed; those finished before are not repeated."""
    prepare_machine(params.truth_threads, seed)
    images = Images.read(data)
    runs = Runs(work, data / "dataset.json", params.model_dump(), seed)
    rows = []
    for one in architectures(load_space(images), params.architectures):
        found = runs.get(one.id, partial(train_from_scratch, one, images, params, seed))
        rows.append(
            {
                "architecture": one.to_json(),
                "architecture_id": one.id,
                "short": one.short(),
                "depth": depth(one),
                "flops": flops(one),
                "parameters": parameters(one),
            }
            | found
        )
    return {"seed": seed, "rows": rows}
