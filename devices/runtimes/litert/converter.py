"""A graph and its layers during conversion from ONNX to LiteRT.

ONNX uses NCHW, LiteRT NHWC (N images, C channels, H height, W width): tensors of four axes are
written as NHWC, all others in ONNX's order. A layer between DequantizeLinear and QuantizeLinear
becomes an int8 layer with their scales; layers without an int8 version are computed in float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from devices.device import DeviceError
from devices.runtimes.litert.file import Array, Quantization, Writer
from devices.runtimes.onnx_graph import DEQUANTIZE, QUANTIZE, Layer, Node, read_graph

TO_NHWC = (0, 2, 3, 1)
IMAGE_AXES = 4


def nhwc_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape in the file: NHWC for four axes, else unchanged."""
    return tuple(shape[axis] for axis in TO_NHWC) if len(shape) == IMAGE_AXES else tuple(shape)


def to_nhwc(value: Array) -> Array:
    """Transpose an array of four axes to NHWC; others are unchanged."""
    return value.transpose(TO_NHWC) if value.ndim == IMAGE_AXES else value


class Converter:
    """Converts a graph layer by layer."""

    def __init__(self, onnx_model: Path) -> None:
        self.name, self.graph, self.writer = onnx_model.name, read_graph(onnx_model), Writer()
        self.tensors: dict[str, int] = {}  # index in the file of every converted value
        nodes = self.graph.nodes
        self.dequantizers = {n.outputs[0]: n for n in nodes if n.operator == DEQUANTIZE}

    def convert(self, layers: Mapping[str, Callable[[LiteRtLayer], None]]) -> bytes:
        """The bytes of the file; `layers` convert each layer, by ONNX operator."""
        source = self.graph.source
        self.tensors[source] = self.writer.tensor(source, nhwc_shape(self.graph.shapes[source]))
        for node in self.graph.nodes:
            if node.operator == QUANTIZE:
                if node.outputs[0] not in self.tensors:  # else its layer wrote int8 directly
                    self._quantize(node)
            elif node.operator != DEQUANTIZE:
                layers[node.operator](LiteRtLayer(self, node))
        target = self.float_tensor(self.graph.target)
        return self.writer.content(self.tensors[source], target)

    def float_tensor(self, name: str) -> int:
        """Index of the float tensor of a value; dequantises or adds a constant if needed."""
        if name not in self.tensors:
            if name in self.dequantizers:
                integers = self.int8_tensor(name)
                found = self.writer.tensor(name, nhwc_shape(self.graph.shapes[name]))
                self.writer.layer("DEQUANTIZE", [integers], [found])
            else:
                found = self.writer.constant(name, to_nhwc(self.graph.constants[name]))
            self.tensors[name] = found
        return self.tensors[name]

    def int8_tensor(self, name: str) -> int:
        """Index of the int8 tensor of a dequantised value."""
        node = self.dequantizers[name]
        source = node.inputs[0]
        if source not in self.tensors:
            value = to_nhwc(self.graph.constants[source])
            self.tensors[source] = self.writer.constant(source, value, self.scales(node))
        return self.tensors[source]

    def scales(self, node: Node, axis: int = 0) -> Quantization:
        """Parameters of a QuantizeLinear or DequantizeLinear node."""
        scales, points = (np.atleast_1d(self.graph.constants[name]) for name in node.inputs[1:3])
        return Quantization(tuple(map(float, scales)), tuple(map(int, points)), axis)

    def _quantize(self, node: Node) -> None:
        (name,) = node.outputs
        index = self.writer.tensor(name, nhwc_shape(self.graph.shapes[name]), self.scales(node))
        self.writer.layer("QUANTIZE", [self.float_tensor(node.inputs[0])], [index])
        self.tensors[name] = index


class LiteRtLayer(Layer):
    """One ONNX layer during conversion."""

    def __init__(self, converter: Converter, node: Node) -> None:
        super().__init__(converter.graph, node)
        self.converter, self.writer, self.quantised = converter, converter.writer, False

    def error(self, rule: str) -> DeviceError:
        """An error that names the file."""
        return DeviceError(f"{self.converter.name}: {rule}")

    def quantise(self, *inputs: int) -> None:
        """Use int8 if these inputs are dequantised and all outputs quantised."""
        names = [self.node.inputs[index] for index in inputs]
        self.quantised = self.converter.dequantizers.keys() >= {*names} and all(
            map(self.graph.quantizer, self.node.outputs)
        )

    def weights(self) -> tuple[Array, Node | None]:
        """The weights in ONNX's layout, and their DequantizeLinear node if they are quantised."""
        self.quantise(0, 1)
        node = self.converter.dequantizers.get(self.node.inputs[1])
        stored = node.inputs[0] if node else self.node.inputs[1]
        if stored not in self.graph.constants:
            raise self.error(f"'{stored}' must be constant for LiteRT.")
        if node and not self.quantised:
            raise self.error(f"a {self.node.operator} is only partly quantised.")
        return self.graph.constants[stored], node

    def input(self, index: int) -> int:
        """Tensor index of an input, int8 if the layer is quantised."""
        converter, name = self.converter, self.node.inputs[index]
        return converter.int8_tensor(name) if self.quantised else converter.float_tensor(name)

    def constant(self, suffix: str, value: Array, scales: Quantization | None = None) -> int:
        """Add a constant of this layer; returns its index."""
        return self.writer.constant(f"{self.node.outputs[0]}/{suffix}", value, scales)

    def numbers(self, suffix: str, value: Any) -> int:
        """Add an int32 constant of this layer; returns its index."""
        return self.constant(suffix, np.array(value, np.int32))

    def scales_out(self, output: int = 0) -> Quantization | None:
        """Quantisation of an output in the ONNX file; None if the layer is not quantised."""
        node = self.graph.quantizer(self.node.outputs[output]) if self.quantised else None
        return self.converter.scales(node) if node else None

    def scales_of(self, tensor: int) -> Quantization | None:
        """Quantisation of a tensor; None if the layer is not quantised."""
        return self.writer.quantizations[tensor] if self.quantised else None

    def intermediate(self, suffix: str, shape: Sequence[int], like: int | None = None) -> int:
        """Add an intermediate tensor, quantised like another one if the layer is quantised."""
        scales = None if like is None else self.scales_of(like)
        return self.writer.tensor(f"{self.node.outputs[0]}/{suffix}", shape, scales)

    def write(
        self,
        operator: str,
        inputs: Sequence[int],
        scales: Quantization | None = None,
        **settings: Any,
    ) -> None:
        """Add the LiteRT layer that computes this layer's outputs; see `Writer.layer`.

        If its int8 version requires an output quantisation `scales` that is not that of the ONNX
        file, a QUANTIZE layer is added.
        """
        finals = [self._final(output) for output in range(len(self.node.outputs))]
        firsts = list(finals)
        if self.quantised and scales is not None:
            for output, name in enumerate(self.node.outputs):
                if scales != self.scales_out(output):
                    shape = nhwc_shape(self.shape(output))
                    firsts[output] = self.writer.tensor(f"{name}/first", shape, scales)
        self.writer.layer(operator, inputs, firsts, **settings)
        for first, final in zip(firsts, finals, strict=True):
            if first != final:
                self.writer.layer("QUANTIZE", [first], [final])

    def requantise(self, tensor: int, suffix: str, shape: Sequence[int]) -> int:
        """Requantise an int8 tensor to the quantisation of the output, if it differs."""
        scales = self.scales_out()
        if self.scales_of(tensor) == scales:
            return tensor
        found = self.writer.tensor(f"{self.node.outputs[0]}/{suffix}", shape, scales)
        self.writer.layer("QUANTIZE", [tensor], [found])
        return found

    def _final(self, output: int) -> int:
        name = self.node.outputs[output]
        quantizer = self.graph.quantizer(name) if self.quantised else None
        stored = quantizer.outputs[0] if quantizer else name
        shape = nhwc_shape(self.shape(output))
        self.converter.tensors[stored] = self.writer.tensor(stored, shape, self.scales_out(output))
        return self.converter.tensors[stored]
