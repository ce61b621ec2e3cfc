"""Networks of one chain of inverted residual blocks: MobileNetV2 and EfficientNet-Lite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from core.errors import UserError
from models.nets.pretrained.channels import MBCONV
from models.nets.pretrained.weights import HEAD, STATISTICS, STEM, Named
from models.nets.shared_cells import EPS

ConvNames = tuple[str, str]
"""Names of a convolution and of its batch norm."""


@dataclass(frozen=True)
class Names:
    """How a network's state dict names its tensors.

    Attributes:
        layers: blocks of every stage.
        block: names of a block's cells, with `{}` for the block's number from 0.
        plain: those of a block without expansion.
        first: number of the first block.
        eps: constant of its batch norms.
    """

    stem: ConvNames
    layers: tuple[int, ...]
    block: Mapping[str, ConvNames]
    plain: Mapping[str, ConvNames]
    head: ConvNames
    linear: str
    first: int = 0
    eps: float = EPS


def by_place(state: Mapping[str, Tensor], names: Names, file: Path) -> Named:
    """A network's tensors by the names of `models/nets/pretrained/weights.py`.

    Raises:
        UserError: `file`, from which they were read, is of another network.
    """
    cells: dict[str, ConvNames] = {f"{STEM}.conv.conv": names.stem}
    blocks = [(n + 1, m + 1) for n, layers in enumerate(names.layers) for m in range(layers)]
    for number, (stage, layer) in enumerate(blocks, names.first):
        expands = all(f"{c.format(number)}.weight" in state for c, _ in names.block.values())
        for cell, found in (names.block if expands else names.plain).items():
            place = f"stage{stage}.layer{layer}.{MBCONV}.{cell}"
            cells[place] = (found[0].format(number), found[1].format(number))
    cells[f"{HEAD}.classifier.widen"] = names.head
    named: Named = {}
    try:
        for cell, (convolution, norm) in cells.items():
            named[f"{cell}.weight"] = state[f"{convolution}.weight"]
            for name in STATISTICS:
                named[f"{cell}.norm.{name}"] = state[f"{norm}.{name}"]
            named[f"{cell}.norm.weight"] = _scale(named, cell, names.eps)
        for name in ("weight", "bias"):
            named[f"{HEAD}.classifier.linear.{name}"] = state[f"{names.linear}.{name}"]
    except KeyError as error:
        raise UserError(
            f"{file} has the weights of another network: there is no tensor {error}. Use the "
            f"network's unmodified state dict."
        ) from error
    return named


def _scale(named: Named, cell: str, eps: float) -> Tensor:
    """The scale of a batch norm that adds `EPS` to the variance instead of `eps`.

    Not the variance is changed, which a training measures anew: a channel with a variance far below
    `eps` would be many times as strong.
    """
    weight_C, variance_C = (named[f"{cell}.norm.{name}"] for name in ("weight", "running_var"))
    return weight_C * ((variance_C + EPS) / (variance_C + eps)).sqrt()
