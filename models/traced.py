"""A plain network as a graph of steps, each of a known kind: what rounding and rescaling look at.

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
"""What a traced step is: by module's type, by function, by method's name. Everything else, such
as a hard sigmoid or a mean, is computed in float between what is rounded around it."""
_GATES: dict[Any, Callable[[Tensor], Tensor]] = {
    nn.SiLU: torch.sigmoid,
    functional.silu: torch.sigmoid,
    nn.Hardswish: functional.hardsigmoid,
    functional.hardswish: functional.hardsigmoid,
}
"""Activations that are a product of their input and this function of it, and quantised as one."""


def trace(network: nn.Module) -> fx.GraphModule:
    """The network's graph; its modules are the network's own.

    Left out is what does nothing, and written out what ONNX has several steps for.
    """
    traced = fx.GraphModule(network, _Tracer().trace(network))
    _plain_steps(traced)
    traced.recompile()
    return traced


def kinds(traced: fx.GraphModule) -> dict[fx.Node, str]:
    """What each node of a graph is, in order: see `_KINDS`; `other` for everything else."""
    return {node: _KINDS.get(_target(traced, node), "other") for node in traced.graph.nodes}


def _target(traced: fx.GraphModule, node: fx.Node) -> Any:
    """A step's function, its method's name, or its module's type."""
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target)))
    return node.target


class _Tracer(fx.Tracer):
    """A tracer that also follows loops over the pieces of `chunk`."""

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        if obj.node.op == "call_method" and obj.node.target == "chunk":
            pieces: Any = obj
            return iter([pieces[index] for index in range(cast(int, obj.node.args[1]))])
        return super().iter(obj)


def _plain_steps(traced: fx.GraphModule) -> None:
    graph = traced.graph
    for node in list(graph.nodes):
        target = _target(traced, node)
        gate = _GATES.get(target)
        with graph.inserting_before(node):
            if target in (nn.Identity, nn.Dropout):
                same = node.args[0]
            elif gate is not None:
                same = graph.call_function(
                    operator.mul, (node.args[0], graph.call_function(gate, (node.args[0],)))
                )
            elif target == "addcmul_":
                product = graph.call_function(operator.mul, node.args[1:])
                same = graph.call_function(operator.add, (node.args[0], product))
            else:
                continue
        node.replace_all_uses_with(same)
        graph.erase_node(node)
