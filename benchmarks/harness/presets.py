"""Preset spaces with random images, and torchvision's networks for small images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torchvision.models import get_model

from data.dataset import Augment, DatasetInfo, Split
from data.stream import TrainStream
from devices.device import Budget, Device
from models.space.file import PRESETS as FOLDER
from models.space.file import read_spec
from models.space.space import SearchSpace

TORCHVISION = ("mobilenet_v2", "mobilenet_v3_small")


def torchvision_network(
    name: str, channels: int, classes: int, seed: int, stem_stride: int = 1, **options: Any
) -> nn.Module:
    """A network of torchvision with fresh weights and a stem for small images of `channels`.

    Made for 224 pixels, it would reduce 28 to one pixel long before its end: hence stride 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = get_model(name, weights=None, num_classes=classes, **options)
        first = network.get_submodule("features.0.0")
        assert isinstance(first, nn.Conv2d)
        stem = nn.Conv2d(channels, first.out_channels, 3, stem_stride, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out")
        network.set_submodule("features.0.0", stem)
    return network


CLASSES = 10
TORCH = f"torch {torch.__version__.split('+')[0]}"


def shown_space(file: Path) -> SearchSpace:
    """A space for the images that its file shows it with."""
    spec = read_spec(file)
    images = spec.shown_images
    return SearchSpace(spec, (images.channels, images.size, images.size), images.classes)


def any_device(runtime: str) -> Device:
    """A device whose runtime alone counts."""
    return Device(backend=runtime, budget=Budget(flops=1), min_accuracy=0.0)


class Preset(NamedTuple):
    """A preset space and the shape of the images it is for."""

    name: str
    image_shape: tuple[int, int, int]

    def load(self) -> SearchSpace:
        """The space."""
        return SearchSpace.load(FOLDER / f"{self.name}.yaml", self.image_shape, CLASSES)


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
