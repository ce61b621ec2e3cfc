"""Tracing a plain network to an FX graph with classified ops, for quantisation.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_KINDS: dict[Any, str] = {
    nn.Conv2d: "conv",
    nn.Linear: "linear",
    nn.Sigmoid: "sigmoid",
    nn.AdaptiveAvgPool2d: "avg_pool",
    nn.AvgPool2d: "avg_pool",
    nn.MaxPool2d: "max_pool",
    nn.ReLU: "relu",
    nn.ReLU6: "clip",
    nn.Hardtanh: "clip",
    nn.Flatten: "same",
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    "add_": "add",
    operator.mul: "mul",
    operator.imul: "mul",
    torch.mul: "mul",
    "mul": "mul",
    "mul_": "mul",
    torch.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    "sigmoid": "sigmoid",
    functional.softmax: "softmax",
    "softmax": "softmax",
    torch.cat: "cat",
    functional.adaptive_avg_pool2d: "avg_pool",
    functional.relu: "relu",
    functional.relu6: "clip",
    torch.relu: "relu",
    torch.flatten: "same",
    operator.getitem: "same",
    **dict.fromkeys(("flatten", "reshape", "view", "permute", "transpose", "chunk"), "same"),
}
"""Kind of a traced op by module type, function or method name. All others, such as a hard sigmoid
or a mean, are computed in float."""
_GATES: dict[Any, Callable[[Tensor], Tensor]] = {
    nn.SiLU: torch.sigmoid,
    functional.silu: torch.sigmoid,
    nn.Hardswish: functional.hardsigmoid,
    functional.hardswish: functional.hardsigmoid,
}
"""Activations of the form x * gate(x), quantised as that product."""


def trace(network: nn.Module) -> fx.GraphModule:
    """Trace the network; the graph shares its modules.

    No-ops are removed, and ops that ONNX decomposes are decomposed.
    """
    traced = fx.GraphModule(network, _Tracer().trace(network))
    _normalise_ops(traced)
    traced.recompile()
    return traced


def kinds(traced: fx.GraphModule) -> dict[fx.Node, str]:
    """Kind of each node in graph order, see `_KINDS`; `other` if unknown."""
    return {node: _KINDS.get(_target(traced, node), "other") for node in traced.graph.nodes}


def _target(traced: fx.GraphModule, node: fx.Node) -> Any:
    """The function, method name or module type of a node."""
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target)))
    return node.target


class _Tracer(fx.Tracer):
    """A tracer that supports iteration over the result of `chunk`."""

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        if obj.node.op == "call_method" and obj.node.target == "chunk":
            pieces: Any = obj
            return iter([pieces[index] for index in range(cast(int, obj.node.args[1]))])
        return super().iter(obj)


def _normalise_ops(traced: fx.GraphModule) -> None:
    graph = traced.graph
    for node in list(graph.nodes):
        target = _target(traced, node)
        gate = _GATES.get(target)
        with graph.inserting_before(node):
            if target in (nn.Identity, nn.Dropout):
                replacement = node.args[0]
            elif gate is not None:
                replacement = graph.call_function(
                    operator.mul, (node.args[0], graph.call_function(gate, (node.args[0],)))
                )
            elif target == "addcmul_":
                product = graph.call_function(operator.mul, node.args[1:])
                replacement = graph.call_function(operator.add, (node.args[0], product))
            else:
                continue
        node.replace_all_uses_with(replacement)
        graph.erase_node(node)
