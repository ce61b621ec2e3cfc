"""Fake quantisation to 8 bits for quantisation-aware training.

A network is traced, and a `FakeQuantize` is inserted after every value that is an integer in the
quantised file: it rounds in the forward pass and is the identity in the backward pass
(straight-through estimator; Jacob et al. 2018, "Quantization and Training of Neural Networks",
section 3). The placement equals that of ONNX Runtime's static quantiser in Q/DQ format, so that
training sees the same rounding errors.
Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from models.nets.traced import kinds, trace

Rounding = Literal["affine", "symmetric", "weights"]
"""Activation quantisation: asymmetric with 256 levels, symmetric with 255 levels, or none
(weight-only quantisation)."""

_LARGEST = {8: 127, 7: 64}
"""Largest integer of a weight by bits, as in ONNX Runtime's quantiser."""
_AVERAGING = 0.01
"""Weight of the newest batch in the moving average of ranges; PyTorch's default."""
_LEAST_SCALE = 1e-12
"""Minimum scale, for all-zero values."""


class FakeQuantize(nn.Module):
    """Quantise and dequantise a tensor to 8 bits over its observed range.

    The range includes 0 and is a moving average of the batches' minima and maxima, updated in
    training mode only; a given `span` is never updated. `symmetric` extends it around 0.
    """

    low: Tensor
    high: Tensor

    def __init__(self, symmetric: bool, span: tuple[float, float] | None = None) -> None:
        super().__init__()
        self.symmetric, self.fixed = symmetric, span is not None
        low, high = (torch.inf, -torch.inf) if span is None else span
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))

    def forward(self, x: Tensor) -> Tensor:
        """The rounded tensor."""
        if self.training and not self.fixed:
            self._observe(x.detach())
        steps, low, high = 255, self.low, self.high
        if self.symmetric:
            steps, high = 254, torch.maximum(-low, high)
            low = -high
        scale = ((high - low) / steps).clamp_min(_LEAST_SCALE)
        zero = (-low / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, steps)

    def _observe(self, x: Tensor) -> None:
        low, high = torch.aminmax(x)
        low, high = low.clamp_max(0), high.clamp_min(0)
        seen = torch.isfinite(self.high)
        self.low.copy_(torch.where(seen, torch.lerp(self.low, low, _AVERAGING), low))
        self.high.copy_(torch.where(seen, torch.lerp(self.high, high, _AVERAGING), high))


class RoundedWeight(nn.Module):
    """Symmetric fake quantisation of a weight per output channel to integers up to `largest`."""

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight."""
        channels = weight.shape[0]
        largest_C = weight.detach().reshape(channels, -1).abs().amax(1)
        scale_C = (largest_C / self.largest).clamp_min(_LEAST_SCALE)
        zero_C = torch.zeros(channels, dtype=torch.int32)
        low, high = -self.largest, self.largest
        return torch.fake_quantize_per_channel_affine(weight, scale_C, zero_C, 0, low, high)


def fake_quantize(network: nn.Module, rounding: Rounding, weight_bits: int = 8) -> fx.GraphModule:
    """A fake-quantised graph of the network that shares its parameters.

    Training it trains the network; `remove_rounding` removes the weight quantisation.

    Args:
        network: with folded batch norms. Its weights are quantised in place by a parametrisation,
            which also affects direct calls.
        rounding: of activations.
        weight_bits: 8, or 7 for CPUs whose int8 kernels saturate.
    """
    traced = trace(network)
    kind = kinds(traced)
    for number, node in enumerate([] if rounding == "weights" else _rounded_nodes(kind)):
        name, span = f"rounding_{number}", _SPANS.get(kind[node])
        traced.add_module(name, FakeQuantize(rounding == "symmetric", span))
        with traced.graph.inserting_after(node):
            rounded = traced.graph.call_module(name, (node,))
        for user in set(node.users) - {rounded}:
            user.replace_input_with(node, rounded)
    traced.recompile()
    for module in _weighted_layers(network):
        parametrize.register_parametrization(module, "weight", RoundedWeight(_LARGEST[weight_bits]))
    return traced


def remove_rounding(network: nn.Module) -> None:
    """Remove the weight parametrisation of `fake_quantize`, keeping float weights."""
    for module in _weighted_layers(network):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def _weighted_layers(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


_ROUNDED = frozenset({"conv", "linear", "add", "mul", "sigmoid", "softmax", "cat", "avg_pool"})
"""Ops whose inputs and output are quantised."""
_REMOVABLE = frozenset({"relu", "clip"})
"""Activations that are absorbed into the range of the preceding quantisation."""
_PASS_THROUGH = frozenset({"same", "max_pool"})
"""Ops that pass quantised values through unchanged."""
_SPANS = {"softmax": (0.0, 1.0)}
"""Known output ranges."""


def _rounded_nodes(kind: Mapping[fx.Node, str]) -> list[fx.Node]:
    """The nodes whose value is quantised, in graph order.

    A value read only by an absorbed activation is not quantised before it: the range after the
    activation implements the activation.
    """
    rounded: set[fx.Node] = set()
    for node in kind:
        if kind[node] in _ROUNDED:
            rounded.update(_origin(value, kind) for value in (node, *node.all_input_nodes))
    for node in kind:
        if kind[node] not in _REMOVABLE:
            continue
        source = _origin(node.all_input_nodes[0], kind)
        if source in rounded:
            rounded.add(node)
            if len(source.users) == 1:
                rounded.remove(source)
    return [node for node in kind if node in rounded]


def _origin(node: fx.Node, kind: Mapping[fx.Node, str]) -> fx.Node:
    """The node that produced the value, skipping pass-through ops."""
    while kind[node] in _PASS_THROUGH:
        node = node.all_input_nodes[0]
    return node
