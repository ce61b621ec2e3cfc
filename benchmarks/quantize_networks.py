"""The networks that are quantised: searched ones of a release, and torchvision's, trained here.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision.models import mobilenet_v2, mobilenet_v3_small

from core.files import fingerprint, write_bytes
from core.progress import Progress
from data.stream import TrainStream
from models.nets.weights import load_into, to_bytes
from models.training.learning import Images
from models.training.loop import Objective, Recipe, Run, supervised_step, train
from stages.quantize import read_network

KNOWN: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
}
"""Networks of torchvision, by the name it gives them."""


@dataclass(frozen=True)
class Training:
    """How a network of torchvision is trained: with the project's own trainer."""

    epochs: float = 0.5
    batch: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 0.00005
    seed: int = 0


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        name: of the device it was searched for, or torchvision's.
        module: in evaluation mode.
        key: a fingerprint of its weights.
    """

    name: str
    module: nn.Module
    key: str


def searched(folder: Path) -> Network:
    """A network that the stage `train` left in a folder, named after the folder."""
    module = read_network(folder)
    return Network(folder.name, module, fingerprint(folder / "model.safetensors"))


def adapted(name: str, channels: int, classes: int) -> nn.Module:
    """A network of torchvision for small images, with fresh weights.

    The stem's stride is 1, not 2: made for 224 pixels, it would leave nothing of 28 but one pixel
    long before its end. And the stem takes as many channels as the images have.
    """
    network = KNOWN[name](num_classes=classes)
    first = network.get_submodule("features.0.0")
    assert isinstance(first, nn.Conv2d)
    stem = nn.Conv2d(channels, first.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out")
    network.set_submodule("features.0.0", stem)
    return network


def trained(name: str, images: Images, training: Training, cache: Path) -> Network:
    """A network of torchvision, trained on the images, or read from where it was kept.

    Args:
        name: in `KNOWN`.
        images: of the training split it learns on.
        training: how.
        cache: folder of trained weights.
    """
    torch.manual_seed(training.seed)
    network = adapted(name, images.info.image_shape[0], len(images.info.classes))
    key = fingerprint(name, vars(training), images.info.arrays, torch.__version__)
    file = cache / f"{name}-{key[:12]}.safetensors"
    if not file.is_file():
        stream = TrainStream(images.train, images.info, training.batch, training.seed, True)
        steps = max(1, round(training.epochs * stream.steps_per_epoch))
        recipe = Recipe(steps, training.learning_rate, weight_decay=training.weight_decay)
        run = Run(network, recipe)
        learn = supervised_step(network, Objective(len(images.info.classes)))
        with Progress(f"train {name}", steps, interval=10.0) as progress:
            train(run, stream.at, learn, report=progress.update)
        write_bytes(file, to_bytes(network))
    load_into(network, file)
    return Network(name, network.eval(), fingerprint(file))
