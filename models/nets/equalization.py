"""Cross-layer equalisation: rescale channels without changing the network's function.

An output channel can be divided by a positive factor if the next layer's weights for it are
multiplied by that factor; a ReLU in between commutes with it. Where channel ranges differ by orders
of magnitude, per-tensor quantisation rounds small channels to zero. The factors are chosen so that
both weights have the same range per channel (Nagel et al. 2019, "Data-Free Quantization Through
Weight Equalization and Bias Correction", section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from models.nets.traced import kinds, trace

_SWEEPS = 20
"""Iterations over all pairs; a layer belongs to two pairs."""

Layer = nn.Conv2d | nn.Linear


@torch.no_grad()
def equalise(network: nn.Module) -> None:
    """Equalise, in place, pairs of layers with at most a ReLU between them.

    Batch norms must be folded. Outputs stay equal up to rounding.
    """
    pairs = list(_pairs(trace(network)))
    for _ in range(_SWEEPS):
        for first, second, axis in pairs:
            before_C, after_C = _largest(first.weight, 0), _largest(second.weight, axis)
            # A dead channel has no defined scale.
            alive_C = (before_C > 0) & (after_C > 0)
            scale_C = torch.where(alive_C, (before_C / after_C).sqrt(), 1.0)
            first.weight.div_(_along(scale_C, first.weight, 0))
            if first.bias is not None:
                first.bias.div_(scale_C)
            second.weight.mul_(_along(scale_C, second.weight, axis))


def _pairs(traced: fx.GraphModule) -> Iterator[tuple[Layer, Layer, int]]:
    """Consecutive layers, and the axis of the second's weight that is the shared channel."""
    kind = kinds(traced)
    for node in kind:
        following = _reader(node)
        if following is not None and kind[following] == "relu":
            following = _reader(following)
        first, second = (_layer(traced, one) for one in (node, following))
        if first is None or second is None:
            continue
        groups = second.groups if isinstance(second, nn.Conv2d) else 1
        if groups == 1 or second.weight.shape[1] == 1:  # dense or depthwise
            yield first, second, 1 if groups == 1 else 0


def _reader(node: fx.Node) -> fx.Node | None:
    """The node's only user, or None if it has several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _layer(traced: fx.GraphModule, node: fx.Node | None) -> Layer | None:
    if node is None or node.op != "call_module":
        return None
    module = traced.get_submodule(str(node.target))
    return module if isinstance(module, nn.Conv2d | nn.Linear) else None


def _largest(weight: Tensor, axis: int) -> Tensor:
    return weight.abs().amax([other for other in range(weight.dim()) if other != axis])


def _along(values: Tensor, weight: Tensor, axis: int) -> Tensor:
    return values.reshape([-1 if other == axis else 1 for other in range(weight.dim())])
