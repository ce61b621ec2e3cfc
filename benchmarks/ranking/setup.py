"""Settings, space and architectures of the ranking benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from benchmarks.harness.release import settings
from core.settings import Params
from models.space.architecture import Architecture
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.training.learning import Images

HERE = Path(__file__).resolve().parent
SCHEMA = "netwright/benchmark/ranking"
_DRAW = 0
"""Seed of the architectures: every run evaluates the same ones."""


class RankingParams(Params):
    """The benchmark's settings, from its own `params.yaml`."""

    architectures: int = Field(ge=4)
    """How many are ranked."""
    truth_epochs: float = Field(gt=0)
    """Passes over the training split when an architecture is trained on its own."""
    truth_threads: int = Field(ge=1)
    """Threads of that training."""
    batch: int = Field(ge=2)
    """Images per step, of all trainings."""
    learning_rate: float = Field(gt=0)
    """Its highest value, of all trainings."""
    recalibration_batches: int = Field(ge=1)
    """Batches of 256 training images before any network is scored."""
    supernet_seconds: float = Field(gt=0)
    """Wall time that every strategy may train for."""
    supernet_threads: int = Field(ge=1)
    """Threads of that training."""
    bootstrap: int = Field(ge=1)
    """Resamples behind the intervals of tau."""


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
