"""Weights by the names of a space's places, independent of one space's positions.

A name is `PLACE.OPERATOR.CELL.TENSOR`: PLACE is `stem`, `stage2.layer1` or `head`; TENSOR is
`weight`, `bias`, `norm.running_mean`, or `norms.CANDIDATE.running_mean` for the batch norms of one
candidate of a supernet. Axes: O outputs, I inputs, H and W of a kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import UserError
from models.space.space import SearchSpace

Named = dict[str, Tensor]
STEM, HEAD = "stem", "head"
STATISTICS = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a batch norm."""


@dataclass(frozen=True)
class Weights:
    """Weights of a network or supernet.

    Attributes:
        source: for messages and the history.
        tensors: by name.
        mean: per channel, with `std` the normalisation of its input, for pixels from 0 to 1; None:
            that of the data set.
        std: see `mean`.
        preset: name of the preset whose largest network they are of, most of which a space must
            contain; None: of a supernet.
    """

    source: str
    tensors: Named
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    preset: str | None = None


def places(space: SearchSpace) -> tuple[str, ...]:
    """The name of every position of the space's supernet."""
    counted: Counter[int] = Counter()
    layers = []
    for layer in space.layers:
        counted[layer.stage] += 1
        layers.append(f"stage{layer.stage + 1}.layer{counted[layer.stage]}")
    front = len(space.fronts[0]) - 1  # a resize, which has no weights
    return (*["resize"] * front, STEM, *layers, HEAD)


def by_place(state: Mapping[str, Tensor], positions: tuple[str, ...]) -> Named:
    """A supernet's state by the names of this module."""
    named = {}
    for name, tensor in state.items():
        _, position, operator, _, rest = name.split(".", 4)
        named[f"{positions[int(position)]}.{operator}.{rest}"] = tensor
    return named


@torch.no_grad()
def fit_images(weights: Weights, mean: tuple[float, ...], std: tuple[float, ...]) -> Named:
    """The tensors for images normalised by `mean` and `std`.

    The stem's kernel takes the scale, and its batch norm's running mean the shift; only at the
    border, where images are padded with 0, a shift leaves a difference. A colour network reads
    greyscale images as three equal channels: its kernels add up. A greyscale network reads the mean
    of the colours.

    Raises:
        UserError: the stem is not one convolution.
    """
    tensors = dict(weights.tensors)
    if weights.mean is None or weights.std is None:
        return tensors
    stems = [n for n in tensors if n.startswith(f"{STEM}.") and n.endswith(".conv.weight")]
    if len(stems) != 1:
        raise UserError(
            f"supernet.start_from: the stem of {weights.source} is not one convolution, so its "
            "weights cannot be fitted to the images. Set it to none."
        )
    name, channels = stems[0], len(mean)
    own = tensors[name].shape[1]
    inputs = max(own, channels)
    kernel_OIHW = tensors[name].expand(-1, inputs, -1, -1) * (own / inputs)
    own_mean, own_std = torch.tensor(weights.mean), torch.tensor(weights.std)
    scale_I = torch.tensor(std).expand(inputs) / own_std
    shift_I = (torch.tensor(mean).expand(inputs) - own_mean) / own_std
    for norm in [n for n in tensors if n.startswith(name.removesuffix("weight") + "norm")]:
        if norm.endswith(".running_mean"):
            tensors[norm] = tensors[norm] - kernel_OIHW.sum((2, 3)) @ shift_I
    scaled_OIHW = kernel_OIHW * scale_I[:, None, None]
    tensors[name] = scaled_OIHW.sum(1, keepdim=True) if channels == 1 else scaled_OIHW
    return tensors
