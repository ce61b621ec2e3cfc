"""The networks that are quantised: searched ones of a release, and torchvision's, trained here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.harness.networks import torchvision_network
from core.files import fingerprint, write_bytes
from core.progress import Progress
from data.stream import TrainStream
from models.nets.subnet import Subnet
from models.nets.weights import load_into, to_bytes
from models.training.learning import Images
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective, supervised_step


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
    """

    name: str
    module: nn.Module


def searched(folder: Path) -> Network:
    """A network that the stage `train` left in a folder, named after the folder."""
    return Network(folder.name, Subnet.read(folder))


def train_torchvision(name: str, images: Images, training: Training, cache: Path) -> Network:
    """A network of torchvision, trained on the images, or read from where it was kept.

    Args:
        name: torchvision's.
        images: of the training split it learns on.
        training: how.
        cache: folder of trained weights.
    """
    classes = len(images.info.classes)
    network = torchvision_network(name, images.info.image_shape[0], classes, training.seed)
    key = fingerprint(name, vars(training), images.info.arrays, torch.__version__)
    file = cache / f"{name}-{key[:12]}.safetensors"
    if not file.is_file():
        torch.manual_seed(training.seed)  # for dropout
        stream = TrainStream(images.train, images.info, training.batch, training.seed, True)
        steps = max(1, round(training.epochs * stream.steps_per_epoch))
        recipe = Recipe(steps, training.learning_rate, weight_decay=training.weight_decay)
        learn = supervised_step(network, Objective(classes))
        with Progress(f"train {name}", steps, interval=10.0) as progress:
            train(Run(network, recipe), stream.at, learn, report=progress.update)
        write_bytes(file, to_bytes(network))
    load_into(network, file)
    return Network(name, network.eval())
