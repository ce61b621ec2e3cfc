"""Preset spaces, and random images for them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.dataset import Augment, DatasetInfo, Split
from data.stream import TrainStream
from models.space.file import PRESETS as FOLDER
from models.space.space import SearchSpace

CLASSES = 10


class Preset(NamedTuple):
    """A preset space and the shape of the images it is for."""

    name: str
    image_shape: tuple[int, int, int]

    @property
    def file(self) -> Path:
        """Its YAML."""
        return FOLDER / f"{self.name}.yaml"

    def load(self) -> SearchSpace:
        """The space."""
        return SearchSpace.load(self.file, self.image_shape, CLASSES)


COMPACT = Preset("compact", (1, 28, 28))


def random_images(
    image_shape: tuple[int, int, int], batch: int, batches: int = 20, seed: int = 0
) -> TrainStream:
    """Random images with the shape and augmentation of a prepared data set, in ten classes."""
    channels, height, width = image_shape
    rng = np.random.default_rng(seed)
    count = batches * batch
    split = Split(
        rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8),
        rng.integers(0, 10, count),
    )
    info = DatasetInfo(
        name="random",
        image_shape=image_shape,
        classes=tuple("0123456789"),
        mean=(0.5,) * channels,
        std=(0.29,) * channels,
        counts={},
        augment=Augment(flip=True, shift=2),
        fit="crop",
        source={},
        arrays={},
    )
    return TrainStream(split, info, batch, seed=seed, augment=True)
