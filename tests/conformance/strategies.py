"""A tiny space, images and runs, for the suites over training strategies."""

from typing import Any

import numpy as np
import torch

from data.dataset import Augment, DatasetInfo, Split
from data.stream import Batch, TrainStream
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective
from models.training.strategies import STRATEGIES, Strategy, Task, build_strategy

SPEC = {
    "name": "tiny",
    "sizes": (8, 64),
    "stem": {"operator": "conv", "channels": 8, "stride": 1, "settings": {"kernel": 3}},
    "stages": [
        {
            "layers": 2,
            "stride": 2,
            "channels": [8, 12, 16],
            "skip": True,
            "operators": {"mbconv": {"kernel": [3, 5], "expansion": [1, 2]}},
        }
    ],
    "head": {"operator": "classifier", "settings": {"width": 32}},
}
SPACE = SearchSpace(SpaceSpec.model_validate(SPEC), (1, 8, 8), 5)
INFO = DatasetInfo(
    name="bars",
    image_shape=(1, 8, 8),
    classes=tuple("abcde"),
    mean=(0.2,),
    std=(0.3,),
    counts={},
    augment=Augment(flip=False, shift=1),
    fit="crop",
    source={},
    arrays={},
)
IMAGES, BATCH = 160, 16


def bars() -> Split:
    """Noise with a bright bar at a random position; its height is the label."""
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, 5, IMAGES)
    images_NHWC = rng.integers(0, 120, (IMAGES, 8, 8, 1), dtype=np.uint8)
    for image_HWC, label in zip(images_NHWC, labels_N, strict=True):
        image_HWC[1 : 2 + label] = 255
    return Split(images_NHWC, labels_N)


STREAM = TrainStream(bars(), INFO, BATCH, seed=0, augment=True)


def make(name: str, seed: int = 0, **changes: Any) -> Strategy:
    supernet = Supernet(SPACE, torch.Generator().manual_seed(seed)).train()
    task = Task(supernet, SPACE, Objective(5), seed, IMAGES, **changes)
    return build_strategy(task, STRATEGIES[name].settings_type())


def run_of(strategy: Strategy, steps: int, **changes: Any) -> Run:
    recipe = Recipe(steps, 0.05, weight_decay=1e-3, window=3, checkpoint_every=1, **changes)
    return Run(strategy.supernet, recipe, strategy.trainable(), strategy)


def trained(strategy: Strategy, steps: int, **changes: Any) -> Run:
    run = run_of(strategy, steps, **changes)
    train(run, lambda step: STREAM.at(step, strategy.views), strategy.learn)
    return run


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are the same, bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def first_batch(strategy: Strategy) -> Batch:
    return STREAM.at(0, strategy.views)
