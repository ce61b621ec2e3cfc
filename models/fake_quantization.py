"""Rounding to 8 bits, as int8 arithmetic will do it, inside a network that still learns.

A network is traced, and behind every value that the quantised file will hold as an integer goes a
`FakeQuantize`: it rounds to the integers' grid on the way forward, and lets gradients through as
if it had not (straight-through estimator; Jacob et al. 2018, "Quantization and Training of Neural
Networks", section 3). What stands where is what ONNX Runtime's static quantiser does in Q/DQ form,
for a network rounded in other places learns to live with other errors.
Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from models.traced import kinds, trace

Rounding = Literal["affine", "symmetric", "weights"]
"""How values between layers are rounded: 256 steps over their range; 255 steps around a zero in
the middle; or not at all, where weights alone are integers."""

_LARGEST = {8: 127, 7: 64}
"""Largest integer of a weight, by its bits, as ONNX Runtime's quantiser has it."""
_AVERAGING = 0.01
"""Share of the newest batch in an activation's range; PyTorch's default for this."""
_LEAST_SCALE = 1e-12
"""For values that are all zero."""


class FakeQuantize(nn.Module):
    """Round a tensor to 8 bits over the range it was seen to have.

    The range holds 0 and is a moving average of the batches' smallest and largest values; it
    moves in training mode alone.

    Args:
        symmetric: put the integer 0 at the value 0, and use as many steps below as above.
        span: a range that is known and never moves.
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
    """Round a weight to steps around 0, with a scale per output channel, its first axis.

    Args:
        largest: integer; the smallest is its negative.
    """

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


def fake_quantised(network: nn.Module, rounding: Rounding, weight_bits: int = 8) -> fx.GraphModule:
    """The network with rounding in it, sharing the network's own parameters.

    Training it trains the network; `without_rounding` takes the rounding out of the weights.

    Args:
        network: without batch norms, which no int8 network has. Its weights are rounded from now
            on, also where it is called itself.
        rounding: how.
        weight_bits: 8, or 7 for a processor whose int8 kernels saturate.
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
    for module in _weighted(network):
        parametrize.register_parametrization(module, "weight", RoundedWeight(_LARGEST[weight_bits]))
    return traced


def without_rounding(network: nn.Module) -> None:
    """Give a network that was handed to `fake_quantised` its plain weights, as they are now."""
    for module in _weighted(network):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def _weighted(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


_ROUNDED = frozenset({"conv", "linear", "add", "mul", "sigmoid", "softmax", "cat", "avg_pool"})
"""Steps whose inputs and output become integers."""
_REMOVABLE = frozenset({"relu", "clip"})
"""Activations that become the range of the integers before them."""
_PASSING = frozenset({"same", "max_pool"})
"""Steps that give the integers on as they are."""
_SPANS = {"softmax": (0.0, 1.0)}
"""Ranges that need no observing."""


def _rounded_nodes(kind: Mapping[fx.Node, str]) -> list[fx.Node]:
    """The nodes whose value is rounded, in the order of the graph.

    What an activation alone reads is not rounded before it: the integers take the range that the
    activation leaves, and so do its work.
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
    """The node whose integers these are."""
    while kind[node] in _PASSING:
        node = node.all_input_nodes[0]
    return node
