"""Reader of ONNX files with constant folding, for converters that do not read ONNX."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import DeviceError
from devices.runtimes.onnx_file import load_onnx

Array = npt.NDArray[Any]
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Node:
    """One layer; its inputs are names, "" for a missing optional one."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A network with one input, `source`, and one output, `target`."""

    nodes: tuple[Node, ...]  # in topological order
    constants: Mapping[str, Array]  # weights and folded constants, by name
    shapes: Mapping[str, tuple[int, ...]]  # of every value, by name
    source: str
    target: str

    def quantizer(self, name: str) -> Node | None:
        """The QuantizeLinear node of a value, if it is its only consumer."""
        readers = [node for node in self.nodes if name in node.inputs]
        alone = len(readers) == 1 and name != self.target
        return readers[0] if alone and readers[0].operator == QUANTIZE else None

    def require_known(self, file: str, known: Collection[str], runtime: str) -> None:
        """Check that a converter knows all layers.

        Raises:
            DeviceError: it does not; the message names them.
        """
        unknown = {node.operator for node in self.nodes} - {*known}
        if unknown:
            raise DeviceError(
                f"{file} has layers that cannot be converted to {runtime}: "
                f"{', '.join(sorted(unknown))}. Known: {', '.join(sorted(known))}."
            )


class Layer:
    """A node in its graph, for the converters; shapes are in ONNX's layout."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node = graph, node

    def has_input(self, index: int) -> bool:
        """Whether an optional input is present."""
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def constant_values(self, index: int) -> list[Any]:
        """Values of a constant input."""
        values: list[Any] = np.atleast_1d(self.graph.constants[self.node.inputs[index]]).tolist()
        return values

    def limits(self) -> tuple[float, float]:
        """Lower and upper limit of a Clip; infinite if missing."""
        low, high = (
            self.constant_values(index)[0] if self.has_input(index) else limit
            for index, limit in ((1, -math.inf), (2, math.inf))
        )
        return float(low), float(high)

    def setting(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.node.attributes.get(name, default)

    def shape(self, output: int = 0) -> tuple[int, ...]:
        """Shape of an output."""
        return self.graph.shapes[self.node.outputs[output]]

    def input_shape(self, index: int = 0) -> tuple[int, ...]:
        """Shape of an input."""
        return self.graph.shapes[self.node.inputs[index]]

    def slices(self) -> dict[int, slice]:
        """The slice of each axis that a Slice node cuts."""
        starts, ends = self.constant_values(1), self.constant_values(2)
        axes = self.constant_values(3) if self.has_input(3) else list(range(len(starts)))
        steps = self.constant_values(4) if self.has_input(4) else [1] * len(starts)
        return dict(zip(axes, map(slice, starts, ends, steps), strict=True))

    def mean_axes(self) -> list[int]:
        """The axes over which a ReduceMean or GlobalAveragePool node averages."""
        axes = self.constant_values(1) if self.has_input(1) else self.setting("axes", [2, 3])
        return list(axes)

    def require_bilinear(self, runtime: str) -> None:
        """Check that a Resize node is bilinear, with centres of pixels aligned.

        Raises:
            DeviceError: it is not.
        """
        mode = self.setting("mode", "nearest"), self.setting("coordinate_transformation_mode")
        if mode != ("linear", "half_pixel"):
            raise DeviceError(f"a Resize of mode {mode} cannot be converted to {runtime}.")


def read_graph(onnx_model: Path, float_weights: bool = False) -> Graph:
    """Read an ONNX file with static shapes; `float_weights` dequantises its weights.

    Raises:
        DeviceError: the file is invalid, or a shape is dynamic; the message names the value.
    """
    graph, constants, shapes = _simplified(load_onnx(onnx_model), float_weights)
    sources = [v.name for v in graph.input if v.name not in constants]
    if len(sources) != 1 or len(graph.output) != 1:
        raise DeviceError(f"{onnx_model.name} needs one input and one output.")
    nodes = tuple(map(_node, graph.node))
    for name in (name for node in nodes for name in (*node.inputs, *node.outputs)):
        if name and name not in constants and 0 in shapes.get(name, (0,)):
            raise DeviceError(f"{onnx_model.name}: '{name}' has no fixed shape.")
    shapes |= {name: value.shape for name, value in constants.items()}
    return Graph(nodes, constants, shapes, sources[0], graph.output[0].name)


def _node(node: Any) -> Node:
    import onnx

    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    plain = {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}
    return Node(node.op_type, tuple(node.input), tuple(node.output), plain)


def _simplified(
    model: Any, float_weights: bool
) -> tuple[Any, dict[str, Array], dict[str, tuple[int, ...]]]:
    """Fold constants; returns the graph, its constants and its shapes.

    Repeats until nothing changes, because a folded constant may determine further shapes.
    """
    import onnx

    while True:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        graph = model.graph
        constants = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
        values = (*graph.input, *graph.output, *graph.value_info)
        shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
        known = set(constants)
        left = [node for node in graph.node if not _fold(node, constants, shapes, float_weights)]
        if len(left) == len(graph.node):
            return graph, constants, shapes
        for name in sorted(constants.keys() - known):
            graph.initializer.append(onnx.numpy_helper.from_array(constants[name], name))
        del graph.node[:]
        graph.node.extend(left)


def _fold(
    node: Any,
    constants: dict[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    float_weights: bool,
) -> bool:
    """Fold a node into `constants` if its inputs are constant; returns whether it was folded.

    Quantised weights are not folded unless `float_weights`, because backends need their scales.
    Biases are dequantised: their scale follows from those of input and weights.
    """
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Shape":
        if 0 in shapes.get(node.input[0], (0,)):
            return False
        constants[node.output[0]] = np.array(shapes[node.input[0]], np.int64)
        return True
    if any(name and name not in constants for name in node.input):
        return False
    weights = node.op_type in (QUANTIZE, DEQUANTIZE) and constants[node.input[0]].dtype != np.int32
    if weights and not float_weights:
        return False
    found = ReferenceEvaluator(node).run(None, {n: constants[n] for n in node.input if n})
    constants.update(zip(node.output, map(np.asarray, found), strict=True))
    return True
