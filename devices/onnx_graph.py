"""An ONNX file as a plain list of steps, for backends whose converters do not read ONNX.

Everything that does not depend on the image is computed here, so what is left are the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import DeviceError

Array = npt.NDArray[Any]
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Node:
    """One layer.

    Attributes:
        operator: ONNX's name of it.
        inputs: names of what it reads; "" for an optional one that is left out.
        outputs: names of what it writes.
        attributes: its settings as Python values.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A network of one input and one output.

    Attributes:
        nodes: layers, each after those it reads from.
        constants: weights and everything computed from them, by name.
        shapes: shape of every value, by name.
        source: name of the input.
        target: name of the output.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    source: str
    target: str


def read_graph(onnx_model: Path, float_weights: bool = False) -> Graph:
    """Read an ONNX file whose every shape is fixed.

    Args:
        onnx_model: the file.
        float_weights: give quantised weights as the float numbers they stand for.

    Raises:
        DeviceError: it is no such file; the message names the value without a shape.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(onnx_model)
    except (DecodeError, OSError) as error:
        raise DeviceError(f"{onnx_model} is not a readable ONNX model: {error}") from error
    graph, constants, shapes = _simplified(model, float_weights)
    nodes = list(graph.node)
    sources = [v.name for v in graph.input if v.name not in constants]
    if len(sources) != 1 or len(graph.output) != 1:
        raise DeviceError(f"{onnx_model.name} needs one input and one output.")
    for node in nodes:
        for name in (*node.input, *node.output):
            if name and name not in constants and 0 in shapes.get(name, (0,)):
                raise DeviceError(f"{onnx_model.name}: '{name}' has no fixed shape.")
    shapes |= {name: value.shape for name, value in constants.items()}
    steps = tuple(
        Node(
            node.op_type,
            tuple(node.input),
            tuple(node.output),
            {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute},
        )
        for node in nodes
    )
    return Graph(steps, constants, shapes, sources[0], graph.output[0].name)


def _simplified(
    model: Any, float_weights: bool
) -> tuple[Any, dict[str, Array], dict[str, tuple[int, ...]]]:
    """The graph without what does not depend on the image, its constants, and its shapes.

    A constant may fix a shape from which another constant follows, so this goes in rounds.
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
    """Compute a node that does not depend on the image into the constants; False if it does.

    Quantised weights stay as they are unless `float_weights`: their scales are what a backend
    wants to know. Biases become float, as their scale is that of what they are added to.
    """
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Shape":
        if 0 in shapes.get(node.input[0], (0,)):
            return False
        constants[node.output[0]] = np.array(shapes[node.input[0]], np.int64)
        return True
    if any(name and name not in constants for name in node.input):
        return False
    weights = node.op_type in _QUANTIZERS and constants[node.input[0]].dtype != np.int32
    if weights and not float_weights:
        return False
    found = ReferenceEvaluator(node).run(None, {n: constants[n] for n in node.input if n})
    constants.update(zip(node.output, map(np.asarray, found), strict=True))
    return True


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
