"""One supernet of the ranking benchmark, and the scores it gives.

`python -m benchmarks.ranking_supernet --strategy NAME --data D --steps S --out FILE`.
Scores are read at a tenth, three tenths and the end of the training, so that the table shows how
soon a ranking is there.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.ranking_params import SCHEMA, RankingParams, read_params
from benchmarks.ranking_truth import architectures, load_space
from core.files import read_json, rounded, write_json
from core.process import prepare_machine
from data.dataset import Augment
from data.stream import TrainStream, eval_batches
from models.nets.evaluate import accuracy, recalibrate
from models.nets.indicators import bn_indicator
from models.nets.supernet import Supernet, extract
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.learning import EVAL_BATCH, Images, spread
from models.training.loop import Batches, Objective, Recipe, Run
from models.training.probe import probe_subnet
from models.training.strategies import STRATEGIES, Strategy, Task

BATCH, LEARNING_RATE = 64, 0.1
SHARES = (0.1, 0.3, 1.0)
"""Of the training, after which the scores are read."""
VIEWS = Augment(flip=True, shift=3)
PROBE_IMAGES, VAL_IMAGES = 4000, 4000


def build(
    name: str,
    space: SearchSpace,
    images: Images,
    steps: int,
    seed: int,
    learning_rate: float = LEARNING_RATE,
) -> tuple[Supernet, Strategy, Run]:
    """A fresh supernet with its strategy, ready for `steps` steps."""
    supernet = Supernet(space, torch.Generator().manual_seed(seed))
    task = Task(supernet, space, Objective(space.classes), seed, images=len(images.train))
    strategy = STRATEGIES[name](task)
    run = Run(
        supernet, Recipe(steps, learning_rate, weight_decay=5e-5), strategy.trainable(), strategy
    )
    return supernet, strategy, run


def batches(strategy: Strategy, images: Images, seed: int) -> Batches:
    """The training batches, with the data set's augmentation.

    Who compares two views of an image gets them mirrored and shifted, where the data set's own
    augmentation may be none: two equal views would be told apart by nothing but the paths.
    """
    info = images.info
    if strategy.views > 1:
        info = replace(info, augment=VIEWS)
    stream = TrainStream(images.train, info, BATCH, seed, augment=True)
    return partial(stream.at, views=strategy.views)


def scores(
    supernet: Supernet,
    chosen: Sequence[Architecture],
    images: Images,
    params: RankingParams,
    classifies: bool,
) -> dict[str, list[float]]:
    """Every indicator's score of every architecture.

    Accuracy is that of the slice after batch-norm recalibration, by its own classifier or, where
    that learned nothing (`classifies` is false), by a linear probe on its features.
    """
    calibration = images.calibration(params.recalibration_batches, 256, 0)
    held_out = list(eval_batches(spread(images.val, VAL_IMAGES), images.info, EVAL_BATCH))
    probed = TrainStream(images.train, images.info, EVAL_BATCH, seed=0, augment=False)
    fitted_on = [probed.at(step) for step in range(PROBE_IMAGES // EVAL_BATCH)]
    found: dict[str, list[float]] = {
        name: [] for name in ("supernet_accuracy", "bn_indicator", "bn_indicator_per_layer")
    }
    for architecture in chosen:
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        found["supernet_accuracy"].append(
            accuracy(subnet.eval(), held_out)
            if classifies
            else probe_subnet(subnet, fitted_on, held_out)
        )
        found["bn_indicator"].append(bn_indicator(supernet, architecture))
        found["bn_indicator_per_layer"].append(bn_indicator(supernet, architecture, per_layer=True))
    return {name: [round(value, 6) for value in column] for name, column in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ranking_supernet", description=__doc__
    )
    parser.add_argument("--strategy", choices=list(STRATEGIES), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=float, default=1.0, help="of the wall time of the others")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    for flag in ("--data", "--steps", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    flags = parser.parse_args()
    params = read_params()
    prepare_machine(params.supernet_threads, flags.seed)
    images = Images.read(flags.data)
    space = load_space(images)
    chosen = architectures(space, params.truth.architectures)
    timing = read_json(flags.steps, f"{SCHEMA}/steps/1")
    timed = timing["strategies"][flags.strategy]
    steps = round(timed["steps"] * flags.times)
    supernet, strategy, run = build(
        flags.strategy, space, images, steps, flags.seed, flags.learning_rate
    )
    given = batches(strategy, images, flags.seed)
    points: list[dict[str, Any]] = []
    for share in SHARES:
        run.module.train()
        while run.step < round(share * steps):
            run.advance(given, strategy.learn)
        snapshot = copy.deepcopy(supernet)  # scoring must not touch what is being trained
        points.append(
            {
                "share": share,
                "seconds": rounded(share * flags.times * timing["seconds"]),
                "steps": run.step,
                "scores": scores(snapshot, chosen, images, params, strategy.classifies),
            }
        )
        print(f"{flags.strategy}: {run.step} of {steps} steps, {run.latest()}", flush=True)
    content = {
        "strategy": flags.strategy,
        "seed": flags.seed,
        "learning_rate": flags.learning_rate,
        "judge": "classifier" if strategy.classifies else "linear probe",
        "step_ratio": timed["ratio"],
        "architecture_ids": [architecture.id for architecture in chosen],
        "points": points,
    }
    write_json(flags.out, f"{SCHEMA}/scores/1", content)


if __name__ == "__main__":
    main()
