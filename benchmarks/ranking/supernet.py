"""The supernets of the ranking benchmark: their training lengths, and the scores they give."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.runs import Row
from benchmarks.harness.timing import WARM_UP, interleaved
from benchmarks.ranking.truth import RankingParams, architectures, load_space
from core.files import rounded
from core.process import prepare_machine
from data.dataset import Augment
from data.stream import TrainStream, eval_batches
from models.nets.evaluate import accuracy, recalibrate
from models.nets.indicators import bn_indicator
from models.nets.supernet import Supernet, extract
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.learning import EVAL_BATCH, Images, spread
from models.training.loop import Batches, Recipe, Run
from models.training.objective import Objective
from models.training.probe import probe_subnet
from models.training.strategies import STRATEGIES, Strategy, Task, build_strategy
from models.training.supernet.settings import SupernetParams

SHARES = (0.1, 0.3, 1.0)
"""Of the training, after which the scores are read."""
VIEWS = Augment(flip=True, shift=3)
PROBE_IMAGES, VAL_IMAGES = 4000, 4000
BLOCKS, STEPS, REFERENCE = 8, 8, "spos"
"""Of the timing of steps."""


def build(
    name: str, space: SearchSpace, images: Images, steps: int, learning_rate: float
) -> tuple[Supernet, Strategy, Run]:
    """A fresh supernet with its strategy, ready for `steps` steps."""
    supernet = Supernet(space, torch.Generator().manual_seed(0))
    task = Task(supernet, space, Objective(space.classes), 0, images=len(images.train))
    strategy = build_strategy(task, SupernetParams.model_validate({"strategy": name}).strategy)
    recipe = Recipe(steps, learning_rate, weight_decay=5e-5)
    return supernet, strategy, Run(supernet, recipe, strategy.trainable(), strategy)


def batches(strategy: Strategy, images: Images, batch: int) -> Batches:
    """The training batches, with the data set's augmentation.

    A strategy that compares two views of an image has them mirrored and shifted: without
    augmentation they would differ by nothing but the paths.
    """
    info = images.info.model_copy(update={"augment": VIEWS}) if strategy.views > 1 else images.info
    stream = TrainStream(images.train, info, batch, 0, augment=True)
    return partial(stream.at, views=strategy.views)


def time_steps(data: Path, params: RankingParams) -> Row:
    """How many steps each strategy may train for equal wall time.

    A training then has a fixed number of steps: the same weights however long it takes.
    """
    prepare_machine(params.supernet_threads, 0)
    images = Images.read(data)
    space, length = load_space(images), WARM_UP + BLOCKS * STEPS
    things = {}
    for name in STRATEGIES:
        _, strategy, run = build(name, space, images, length, params.learning_rate)
        run.module.train()
        given = batches(strategy, images, params.batch)
        things[name] = partial(run.advance, given, strategy.learn)
    times = interleaved(things, BLOCKS, STEPS)
    reference_s, strategies = times[REFERENCE].seconds, {}
    for name, timing in times.items():
        ratio, _ = timing.over(times[REFERENCE])
        steps = max(10, round(params.supernet_seconds / (reference_s * ratio)))
        strategies[name] = {"ratio": rounded(ratio), "steps": steps}
        print(f"{name}: {ratio:.2f} of a {REFERENCE} step, {steps} steps", flush=True)
    return {
        "reference": REFERENCE,
        "reference_ms": rounded(1000 * reference_s),
        "seconds": params.supernet_seconds,
        "strategies": strategies,
    }


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
    rows = []
    for architecture in chosen:
        subnet = extract(supernet, architecture)
        recalibrate(subnet, calibration)
        if classifies:
            judged = accuracy(subnet.eval(), held_out)
        else:
            judged = probe_subnet(subnet, fitted_on, held_out)
        found = {
            "supernet_accuracy": judged,
            "bn_indicator": bn_indicator(supernet, architecture),
            "bn_indicator_per_layer": bn_indicator(supernet, architecture, per_layer=True),
        }
        rows.append({name: round(value, 6) for name, value in found.items()})
    return {name: [row[name] for row in rows] for name in rows[0]}


def score_networks(
    data: Path, params: RankingParams, timing: Row, name: str, rate: float, times: float
) -> Row:
    """Train a supernet for `times` the others' wall time; scores after each of SHARES of it."""
    prepare_machine(params.supernet_threads, 0)
    images = Images.read(data)
    space, timed = load_space(images), timing["strategies"][name]
    chosen = architectures(space, params.architectures)
    steps = round(timed["steps"] * times)
    supernet, strategy, run = build(name, space, images, steps, rate)
    given = batches(strategy, images, params.batch)
    points: list[dict[str, Any]] = []
    for share in SHARES:
        run.module.train()
        while run.step < round(share * steps):
            run.advance(given, strategy.learn)
        snapshot = copy.deepcopy(supernet)  # scoring must not touch what is being trained
        found = scores(snapshot, chosen, images, params, strategy.classifies)
        seconds = rounded(timing["seconds"] * times * share)
        points.append({"share": share, "steps": run.step, "seconds": seconds, "scores": found})
        print(f"{name}: {run.step} of {steps} steps, {run.latest()}", flush=True)
    return {
        "strategy": name,
        "learning_rate": rate,
        "judge": "classifier" if strategy.classifies else "linear probe",
        "step_ratio": timed["ratio"],
        "architecture_ids": [architecture.id for architecture in chosen],
        "points": points,
    }
