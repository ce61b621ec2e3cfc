"""Shared parts of operators: activations, squeeze-excite and split attention.

Axes: N images, C channels, H height, W width, S splits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from models.space.architecture import Setting
from models.space.operators.base import Cell, Pointwise, Run

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": partial(functional.relu, inplace=True),
    "relu6": partial(functional.relu6, inplace=True),
    "hard_swish": partial(functional.hardswish, inplace=True),
    "silu": partial(functional.silu, inplace=True),
}
ACTIVATIONS: tuple[Setting, ...] = tuple(_ACTIVATIONS)
UNFRIENDLY_ACTIVATIONS = frozenset({"hard_swish", "silu"})
"""Activations that lose accuracy or speed in int8 (FOX-NAS, section on quantisation)."""
_REDUCTION, _LEAST = 4, 8


def activate(name: Setting, x: Tensor) -> Tensor:
    """Apply an activation in place."""
    return _ACTIVATIONS[str(name)](x)


def gate_cells(channels: int, splits: int = 1) -> dict[str, Cell]:
    """The cells of a channel gate: one squeeze, then one excitation per split.

    The squeeze has a quarter of the gated channels, as in MobileNetV3 (section 5.3).
    """
    squeezed = max(_LEAST, channels // _REDUCTION)
    cells: dict[str, Cell] = {"squeeze": Pointwise(channels, squeezed)}
    return cells | {name: Pointwise(squeezed, channels) for name in _excitations(splits)}


def squeeze_excite(x_NCHW: Tensor, run: Run) -> Tensor:
    """Scale each channel by a gate in (0, 1) computed from all channel means.

    Hu et al. 2018, "Squeeze-and-Excitation Networks", section 3.
    """
    return split_attention([x_NCHW], run)


def split_attention(splits_NCHW: Sequence[Tensor], run: Run) -> Tensor:
    """Weighted sum of feature maps of equal shape, with weights per image, channel and split.

    The weights are computed from the channel means of the maps' sum: a softmax over the splits, or
    a sigmoid for a single one (squeeze-excite; Zhang et al. 2020, "ResNeSt", section 3).
    """
    # The mean of the sum, without allocating the sum.
    pooled_NC11 = splits_NCHW[0].mean((2, 3), keepdim=True)
    for split_NCHW in splits_NCHW[1:]:
        pooled_NC11 = pooled_NC11 + split_NCHW.mean((2, 3), keepdim=True)
    squeezed = activate("relu", run("squeeze", pooled_NC11))
    logits_NC11 = [run(name, squeezed) for name in _excitations(len(splits_NCHW))]
    if len(logits_NC11) == 1:
        return splits_NCHW[0] * logits_NC11[0].sigmoid()
    # Softmax over the last of three axes, which every runtime supports.
    logits_NCS = torch.cat([logits.flatten(2) for logits in logits_NC11], 2)
    shares_NC11 = [share[..., None] for share in logits_NCS.softmax(2).chunk(len(logits_NC11), 2)]
    out_NCHW = splits_NCHW[0] * shares_NC11[0]
    for split_NCHW, share_NC11 in zip(splits_NCHW[1:], shares_NC11[1:], strict=True):
        out_NCHW = out_NCHW.addcmul_(split_NCHW, share_NC11)
    return out_NCHW


def _excitations(splits: int) -> list[str]:
    return [f"excite{number + 1}" for number in range(splits)]
