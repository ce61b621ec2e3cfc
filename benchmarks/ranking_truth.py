"""Ground truth of the ranking benchmark: architectures trained on their own, resumable.

`python -m benchmarks.ranking_truth --data FOLDER --seed N --out FILE`; DVC caches the file
(`benchmarks/dvc.yaml`). Two seeds tell how far ground truth agrees with itself, which is the
ceiling for any ranking.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.ranking_params import SCHEMA, SPACE, RankingParams, read_params
from core.checkpoint import Checkpoint
from core.files import fingerprint, rounded, write_json
from core.process import prepare_machine
from core.progress import Progress
from data.stream import TrainStream
from models.nets.evaluate import recalibrate
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.space.costs import block_flops, depth, flops, parameters
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.loop import Objective, Recipe, Run, supervised_step, train

_DRAW = 0
"""Seed of the architectures: every run judges the same ones."""


def load_space(images: Images) -> SearchSpace:
    """The benchmark's space for a prepared data set."""
    return SearchSpace.load(SPACE, images.info.image_shape, len(images.info.classes))


def architectures(space: SearchSpace, count: int) -> list[Architecture]:
    """The cheapest, the dearest, and uniform samples; `count` different ones."""
    rng = np.random.default_rng(_DRAW)
    found = dict.fromkeys([space.extreme(block_flops), space.extreme(block_flops, largest=True)])
    while len(found) < count:
        found[space.sample(rng)] = None
    return list(found)


def train_from_scratch(
    architecture: Architecture, images: Images, params: RankingParams, seed: int
) -> float:
    """Accuracy on validation and test images together, after training from scratch."""
    stream = TrainStream(images.train, images.info, params.truth.batch, seed, augment=True)
    steps = round(params.truth.epochs * stream.steps_per_epoch)
    network = Subnet(architecture, torch.Generator().manual_seed(seed))
    network.to(memory_format=torch.channels_last)
    run = Run(network, Recipe(steps, params.truth.learning_rate, weight_decay=5e-5))
    train(run, stream.at, supervised_step(network, Objective(architecture.classes)))
    recalibrate(network, images.calibration(params.recalibration_batches, 256, seed))
    val, test = len(images.val), len(images.test)
    right = images.accuracy(network, "val") * val + images.accuracy(network, "test") * test
    return right / (val + test)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking_truth", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_params()
    prepare_machine(params.truth.threads, flags.seed)
    images = Images.read(flags.data)
    chosen = architectures(load_space(images), params.truth.architectures)
    inputs = fingerprint(params.truth.model_dump(), flags.seed, [a.id for a in chosen])
    checkpoint = Checkpoint(flags.out, inputs)
    state = checkpoint.load() or {"accuracy": {}}
    accuracy: dict[str, float] = state["accuracy"]
    with Progress("truth", len(chosen), len(accuracy)) as progress:
        for architecture in chosen:
            if architecture.id not in accuracy:
                accuracy[architecture.id] = train_from_scratch(
                    architecture, images, params, flags.seed
                )
                checkpoint.save(state)
                progress.update(len(accuracy), {"accuracy": accuracy[architecture.id]})
    rows = [
        {
            "architecture": architecture.to_json(),
            "architecture_id": architecture.id,
            "short": architecture.short(),
            "accuracy": rounded(accuracy[architecture.id]),
            "depth": depth(architecture),
            "flops": flops(architecture),
            "parameters": parameters(architecture),
        }
        for architecture in chosen
    ]
    write_json(flags.out, f"{SCHEMA}/truth/1", {"seed": flags.seed, "rows": rows})
    checkpoint.clear()


if __name__ == "__main__":
    main()
