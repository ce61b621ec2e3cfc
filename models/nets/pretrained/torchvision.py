"""torchvision's classifiers that a space can express, with a weights file of the user.

torchvision is not asked for weights, because it would download them during a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from models.nets.pretrained.base import Start
from models.nets.pretrained.file import read_state
from models.nets.pretrained.inverted_residuals import Names, by_place
from models.nets.pretrained.weights import Weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of their input, for pixels from 0 to 1."""
NAMES: Mapping[str, Names] = {
    "mobilenet_v2": Names(
        stem=("features.0.0", "features.0.1"),
        layers=(1, 2, 3, 4, 3, 3, 1),
        block={
            "expand": ("features.{}.conv.0.0", "features.{}.conv.0.1"),
            "depthwise": ("features.{}.conv.1.0", "features.{}.conv.1.1"),
            "project": ("features.{}.conv.2", "features.{}.conv.3"),
        },
        plain={
            "depthwise": ("features.{}.conv.0.0", "features.{}.conv.0.1"),
            "project": ("features.{}.conv.1", "features.{}.conv.2"),
        },
        head=("features.18.0", "features.18.1"),
        linear="classifier.1",
        first=1,
    ),
}


class TorchvisionStart(Start):
    """A classifier of torchvision, `supernet.file`."""

    name: Literal["torchvision"] = "torchvision"
    network: Literal["mobilenet_v2"] = "mobilenet_v2"
    """Its name in torchvision; mobilenet_v2 is for the space `models/spaces/mobilenet-v2.yaml`."""

    def read(self, file: Path) -> Weights:
        """Read the file."""
        named = by_place(read_state(file), NAMES[self.network], file)
        source = f"torchvision's {self.network} ({file.name})"
        return Weights(source, named, MEAN, STD, preset=self.network.replace("_", "-"))
