"""A graph and its layers during conversion from ONNX to LiteRT.

ONNX uses NCHW, LiteRT NHWC (N images, C channels, H height, W width): tensors of four axes are
written as NHWC, all others in ONNX's order. A layer between DequantizeLinear and QuantizeLinear
becomes an int8 layer with their scales; layers without an int8 version are computed in float.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import DeviceError
from devices.runtimes.litert.file import Quantization, Writer
from devices.runtimes.onnx_graph import Layer, Node, read_graph

Array = npt.NDArray[Any]
TO_NHWC = (0, 2, 3, 1)
IMAGE_AXES = 4
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def nhwc_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape in the file: NHWC for four axes, else unchanged."""
    return tuple(shape[axis] for axis in TO_NHWC) if len(shape) == IMAGE_AXES else tuple(shape)


def to_nhwc(value: Array) -> Array:
    """Transpose an array of four axes to NHWC; others are unchanged."""
    return value.transpose(TO_NHWC) if value.ndim == IMAGE_AXES else value


class Converter:
    """Converts a graph layer by layer."""

    def __init__(self, onnx_model: Path) -> None:
        self.name, self.graph = onnx_model.name, read_graph(onnx_model)
        self.writer, self.counts = Writer(), Counter[str]()
        self.quantizations: dict[int, Quantization] = {}
        self._tensors: dict[str, int] = {}
        self._dequantizers: dict[str, Node] = {}
        self._readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            if node.operator == DEQUANTIZE:
                self._dequantizers[node.outputs[0]] = node
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)

    def convert(self, layers: Mapping[str, Callable[[LiteRtLayer], None]]) -> bytes:
        """Convert the graph; returns the bytes of the file.

        Args:
            layers: converts each layer, by ONNX operator.
        """
        source = self.graph.source
        shape = nhwc_shape(self.graph.shapes[source])
        self._tensors[source] = self.writer.tensor(source, shape)
        for node in self.graph.nodes:
            if node.operator == QUANTIZE:
                if node.outputs[0] not in self._tensors:  # else its layer wrote int8 directly
                    self._quantize(node)
            elif node.operator != DEQUANTIZE:
                layers[node.operator](LiteRtLayer(self, node))
        target = self.float_tensor(self.graph.target)
        return self.writer.content(self._tensors[source], target)

    def float_tensor(self, name: str) -> int:
        """Index of the float tensor of a value; dequantises or adds a constant if needed."""
        if name not in self._tensors:
            if name in self._dequantizers:
                integers = self.int8_tensor(name)
                found = self.writer.tensor(name, nhwc_shape(self.graph.shapes[name]))
                self.add("DEQUANTIZE", [integers], [found], "Dequantize")
            else:
                found = self.writer.constant(name, to_nhwc(self.graph.constants[name]))
            self._tensors[name] = found
        return self._tensors[name]

    def int8_tensor(self, name: str) -> int:
        """Index of the int8 tensor of a dequantised value."""
        node = self._dequantizers[name]
        source = node.inputs[0]
        if source not in self._tensors:
            value = to_nhwc(self.graph.constants[source])
            self._tensors[source] = self.writer.constant(source, value, self.scales(node))
            self.quantizations[self._tensors[source]] = self.scales(node)
        return self._tensors[source]

    def weights(self, name: str) -> tuple[Array, Node | None]:
        """A constant in ONNX's layout, and its DequantizeLinear node if it is quantised."""
        node = self._dequantizers.get(name)
        stored = node.inputs[0] if node else name
        if stored not in self.graph.constants:
            raise DeviceError(f"{self.name}: '{name}' must be constant for LiteRT.")
        return self.graph.constants[stored], node

    def scales(self, node: Node, axis: int = 0) -> Quantization:
        """Parameters of a QuantizeLinear or DequantizeLinear node."""
        scales, points = (np.atleast_1d(self.graph.constants[name]) for name in node.inputs[1:3])
        return Quantization(tuple(map(float, scales)), tuple(map(int, points)), axis)

    def is_int8(self, node: Node, inputs: Sequence[str]) -> bool:
        """Whether all given inputs are dequantised and all outputs quantised."""
        return all(name in self._dequantizers for name in inputs) and all(
            self.quantizer(name) is not None for name in node.outputs
        )

    def quantizer(self, name: str) -> Node | None:
        """The QuantizeLinear node of a value, if it is its only consumer."""
        readers = self._readers.get(name, [])
        alone = len(readers) == 1 and name != self.graph.target
        return readers[0] if alone and readers[0].operator == QUANTIZE else None

    def set_tensor(self, name: str, index: int) -> None:
        """Record the tensor index of a value."""
        self._tensors[name] = index

    def add_int8_tensor(self, name: str, shape: Sequence[int], scales: Quantization) -> int:
        """Add an int8 tensor; returns its index."""
        index = self.writer.tensor(name, shape, "int8", scales)
        self.quantizations[index] = scales
        return index

    def add(
        self,
        operator: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a layer, see `Writer.layer`."""
        self.counts[operator] += 1
        self.writer.layer(operator, inputs, outputs, options, settings)

    def _quantize(self, node: Node) -> None:
        shape, scales = nhwc_shape(self.graph.shapes[node.outputs[0]]), self.scales(node)
        index = self.add_int8_tensor(node.outputs[0], shape, scales)
        self.add("QUANTIZE", [self.float_tensor(node.inputs[0])], [index], "Quantize")
        self._tensors[node.outputs[0]] = index


class LiteRtLayer(Layer):
    """One ONNX layer during conversion."""

    def __init__(self, converter: Converter, node: Node) -> None:
        super().__init__(converter.graph, node)
        self.converter, self.quantised = converter, False

    def quantise(self, *inputs: int) -> bool:
        """Use int8 if these inputs and all outputs are quantised."""
        names = [self.node.inputs[index] for index in inputs]
        self.quantised = self.converter.is_int8(self.node, names)
        return self.quantised

    def input(self, index: int) -> int:
        """Tensor index of an input, int8 if the layer is quantised."""
        name = self.node.inputs[index]
        return (
            self.converter.int8_tensor(name)
            if self.quantised
            else self.converter.float_tensor(name)
        )

    def constant(self, suffix: str, value: Array, scales: Quantization | None = None) -> int:
        """Add a constant of this layer; returns its index."""
        return self.converter.writer.constant(f"{self.node.outputs[0]}/{suffix}", value, scales)

    def scales_out(self, output: int = 0) -> Quantization:
        """Quantisation of an output in the ONNX file."""
        quantizer = self.converter.quantizer(self.node.outputs[output])
        assert quantizer is not None
        return self.converter.scales(quantizer)

    def scales_of(self, tensor: int) -> Quantization:
        """Quantisation of an int8 tensor."""
        return self.converter.quantizations[tensor]

    def intermediate(self, suffix: str, shape: Sequence[int], like: int | None = None) -> int:
        """Add an intermediate tensor, quantised like another one if the layer is quantised."""
        name = f"{self.node.outputs[0]}/{suffix}"
        if self.quantised and like is not None:
            return self.converter.add_int8_tensor(name, shape, self.scales_of(like))
        return self.converter.writer.tensor(name, shape)

    def write(
        self,
        operator: str,
        inputs: Sequence[int],
        options: str = "",
        settings: Mapping[str, Any] | None = None,
        scales: Quantization | None = None,
    ) -> None:
        """Add the LiteRT layer that computes this layer's outputs.

        Args:
            operator: schema name.
            inputs: tensor indices.
            options: schema class of its options.
            settings: fields of the options.
            scales: output quantisation that its int8 version requires; if it is not that of the
                ONNX file, a QUANTIZE layer is added.
        """
        finals = [self._final(output) for output in range(len(self.node.outputs))]
        firsts = list(finals)
        if self.quantised and scales is not None:
            for output, name in enumerate(self.node.outputs):
                if scales != self.scales_out(output):
                    shape = nhwc_shape(self.shape(output))
                    firsts[output] = self.converter.add_int8_tensor(f"{name}/first", shape, scales)
        self.converter.add(operator, inputs, firsts, options, settings)
        for first, final in zip(firsts, finals, strict=True):
            if first != final:
                self.converter.add("QUANTIZE", [first], [final], "Quantize")

    def requantise(self, tensor: int, suffix: str, shape: Sequence[int]) -> int:
        """Requantise an int8 tensor to the quantisation of the output, if it differs."""
        if not self.quantised or self.scales_of(tensor) == self.scales_out():
            return tensor
        name = f"{self.node.outputs[0]}/{suffix}"
        found = self.converter.add_int8_tensor(name, shape, self.scales_out())
        self.converter.add("QUANTIZE", [tensor], [found], "Quantize")
        return found

    def _final(self, output: int) -> int:
        name, shape = self.node.outputs[output], nhwc_shape(self.shape(output))
        if not self.quantised:
            index = self.converter.writer.tensor(name, shape)
            self.converter.set_tensor(name, index)
            return index
        quantizer = self.converter.quantizer(name)
        assert quantizer is not None
        index = self.converter.add_int8_tensor(quantizer.outputs[0], shape, self.scales_out(output))
        self.converter.set_tensor(quantizer.outputs[0], index)
        return index
