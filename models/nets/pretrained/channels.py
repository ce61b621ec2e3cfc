"""Ordering the channels of a chain of inverted residual blocks by importance.

A supernet slices the first channels, so the important ones come first (Cai et al. 2020,
"Once-for-All", section 3.3). The network's function does not change. Axes: C channels, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.nets.pretrained.weights import HEAD, STATISTICS, Named

MBCONV = "mbconv"


@torch.no_grad()
def order_channels(tensors: Named, scores_C: Mapping[str, Tensor]) -> Named:
    """A copy with every block's hidden channels and every stage's channels in order.

    The stem's and head's own channels are not sliced by any space, and stay.

    Args:
        tensors: of stem, `stageN.layerM.mbconv` and head; a stage's blocks after the first are
            residual, so that they share one order.
        scores_C: importance of the output channels of every depthwise and projecting convolution,
            by the names of the cells.
    """
    ordered = dict(tensors)
    layers = list(dict.fromkeys(n.partition(f".{MBCONV}.")[0] for n in tensors if MBCONV in n))
    stages = list(dict.fromkeys(layer.partition(".")[0] for layer in layers))
    before: Tensor | None = None  # the stem's channels stay
    for stage in stages:
        mine = [layer for layer in layers if layer.partition(".")[0] == stage]
        order_O = _descending(sum(scores_C[f"{m}.{MBCONV}.project"] for m in mine))
        for layer in mine:
            block = f"{layer}.{MBCONV}"
            _order_block(ordered, block, before, order_O, scores_C)
            before = order_O
    assert before is not None
    _take(ordered, f"{HEAD}.classifier.widen.weight", before, 1)
    return ordered


def _order_block(
    tensors: Named,
    block: str,
    before: Tensor | None,
    after_O: Tensor,
    scores_C: Mapping[str, Tensor],
) -> None:
    """Order one block, whose input has the order `before`."""
    hidden_C = before  # without expansion the hidden channels are the input's
    if f"{block}.expand.weight" in tensors:
        if before is not None:
            _take(tensors, f"{block}.expand.weight", before, 1)
        hidden_C = _descending(scores_C[f"{block}.depthwise"])
        _take_outputs(tensors, f"{block}.expand", hidden_C)
    if hidden_C is not None:
        _take_outputs(tensors, f"{block}.depthwise", hidden_C)
        _take(tensors, f"{block}.project.weight", hidden_C, 1)
    _take_outputs(tensors, f"{block}.project", after_O)


def _descending(scores_C: Tensor | int) -> Tensor:
    assert isinstance(scores_C, Tensor)
    return scores_C.argsort(descending=True, stable=True)


def _take_outputs(tensors: Named, cell: str, order_O: Tensor) -> None:
    _take(tensors, f"{cell}.weight", order_O, 0)
    for name in STATISTICS:
        _take(tensors, f"{cell}.norm.{name}", order_O, 0)


def _take(tensors: Named, name: str, order_C: Tensor, axis: int) -> None:
    tensors[name] = tensors[name].index_select(axis, order_C)
