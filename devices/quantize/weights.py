"""Weight-only int8 quantisation with float arithmetic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt


def quantize_weights(model: bytes, in_float: Collection[str] = ()) -> bytes:
    """Quantise weights of convolutions and matrix products, one scale per output channel.

    Returns the new ONNX file's bytes; the weights of the nodes named in `in_float` stay float.
    """
    import onnx

    content = onnx.load_from_string(model)
    graph = content.graph
    weights = {weight.name: weight for weight in graph.initializer}
    dequantizers: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.name in in_float:
            continue
        if node.input[1] not in weights:
            continue
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        axis = 1 if node.op_type == "Gemm" and not given.get("transB", 0) else 0
        name = node.input[1]
        node.input[1] = f"{name}_float"
        if node.input[1] not in dequantizers:
            parts = _per_channel(onnx.numpy_helper.to_array(weights[name]), axis)
            names = [f"{name}_{part}" for part in ("int8", "scale", "zero")]
            graph.initializer.extend(map(onnx.numpy_helper.from_array, parts, names))
            dequantizers[node.input[1]] = onnx.helper.make_node(
                "DequantizeLinear", names, [node.input[1]], axis=axis
            )
    nodes = [*dequantizers.values(), *graph.node]
    read = {name for node in nodes for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return bytes(content.SerializeToString(deterministic=True))


def _per_channel(
    values: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Quantise symmetrically along an axis; returns integers, scales and zero points (0)."""
    others = tuple(a for a in range(values.ndim) if a != axis)
    largest = np.abs(values).max(others, keepdims=True)
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    integers = np.rint(values / scales).astype(np.int8)
    return integers, scales.ravel(), np.zeros(scales.size, np.int8)
