"""What the sections of the supernet's benchmark share: effort, presets, strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from data.stream import TrainStream
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.loop import Objective, Recipe, Run
from models.training.strategies import STRATEGIES, Strategy, Task

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        blocks: rounds of interleaved blocks.
        calls: steps a block.
        batch: images a step, of images of 28 and 32 pixels.
        large_batch: of 224 pixels.
        architectures: measured at random, besides the smallest and the largest.
        steps: of the trainings of `ranking`.
        ranked: architectures in its ranking.
        data: folder of prepared images for `ranking`; None for random ones.
    """

    blocks: int = 9
    calls: int = 3
    batch: int = 64
    large_batch: int = 8
    architectures: int = 3
    steps: int = 2000
    ranked: int = 1000
    data: Path | None = None


class Preset(NamedTuple):
    """A preset space and the images it is for."""

    name: str
    image_shape: tuple[int, int, int]
    large: bool = False

    @property
    def file(self) -> Path:
        """Its YAML."""
        return ROOT / "models" / "spaces" / f"{self.name}.yaml"

    def load(self) -> SearchSpace:
        """The space."""
        return SearchSpace.load(self.file, self.image_shape, CLASSES)

    def batch(self, effort: Effort) -> int:
        """Images a step."""
        return effort.large_batch if self.large else effort.batch


COMPACT = Preset("compact", (1, 28, 28))
PRESETS = (COMPACT, Preset("macro", (3, 32, 32)), Preset("fbnet", (3, 224, 224), large=True))


def strategy_of(name: str, space: SearchSpace, images: int) -> Strategy:
    """A strategy with its defaults on a fresh supernet."""
    supernet = Supernet(space, torch.Generator().manual_seed(0)).train()
    return STRATEGIES[name](Task(supernet, space, Objective(CLASSES), 0, images))


def stepper(strategy: Strategy, stream: TrainStream) -> Callable[[], None]:
    """One step of the trainer after the other, batches made before."""
    recipe = Recipe(1_000_000, 0.01, window=1_000_000)
    run = Run(strategy.supernet, recipe, strategy.trainable(), strategy)
    batches = [stream.at(step, strategy.views) for step in range(2)]
    return lambda: run.advance(lambda step: batches[step % 2], strategy.learn)
