"""An ONNX file as a LiteRT (TensorFlow Lite) file.

ONNX images are NCHW, LiteRT's are NHWC (N images, C channels, H height, W width): every tensor of
four axes is written as NHWC, all others in ONNX's order. In a quantised file a layer between a
dequantising and a quantising one becomes an 8-bit layer with their scales; what has no 8-bit form
is computed in float between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import DeviceError
from devices.litert_file import Quantization, Writer
from devices.litert_layers import LAYERS, place, placed
from devices.onnx_graph import Node, read_graph

Array = npt.NDArray[Any]
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def to_litert(onnx_model: Path) -> tuple[bytes, dict[str, int]]:
    """The content of a LiteRT file with float32 input (1, H, W, C) and output (1, K).

    Returns:
        The bytes, and how many layers of each kind there are.

    Raises:
        DeviceError: the file cannot be read, or has a layer that is not known.
    """
    converter = Converter(onnx_model)
    unknown = sorted({n.operator for n in converter.graph.nodes} - converter.known)
    if unknown:
        raise DeviceError(
            f"{onnx_model.name} has layers that cannot be brought to LiteRT: "
            f"{', '.join(unknown)}. Known: {', '.join(sorted(LAYERS))}."
        )
    return converter.convert(), dict(sorted(converter.counts.items()))


class Converter:
    """Walks a graph once and writes each layer."""

    known = frozenset({*LAYERS, _QUANTIZE, _DEQUANTIZE})

    def __init__(self, onnx_model: Path) -> None:
        self.name, self.graph = onnx_model.name, read_graph(onnx_model)
        self.writer, self.counts = Writer(), Counter[str]()
        self.quantizations: dict[int, Quantization] = {}
        self._tensors: dict[str, int] = {}
        self._dequantizers: dict[str, Node] = {}
        self._readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            if node.operator == _DEQUANTIZE:
                self._dequantizers[node.outputs[0]] = node
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)

    def convert(self) -> bytes:
        """Write everything; the file's bytes."""
        source = self.graph.source
        shape = placed(self.graph.shapes[source])
        self._tensors[source] = self.writer.tensor(source, shape)
        for node in self.graph.nodes:
            if node.operator == _QUANTIZE:
                if node.outputs[0] not in self._tensors:  # else its layer wrote integers itself
                    self._quantize(node)
            elif node.operator != _DEQUANTIZE:
                LAYERS[node.operator](Layer(self, node))
        target = self.number(self.graph.target)
        return self.writer.content(self._tensors[source], target)

    def number(self, name: str) -> int:
        """The float tensor of a value, dequantised or written as a constant if need be."""
        if name not in self._tensors:
            if name in self._dequantizers:
                integers = self.integers(name)
                found = self.writer.tensor(name, placed(self.graph.shapes[name]))
                self.add("DEQUANTIZE", [integers], [found], "Dequantize")
            else:
                found = self.writer.constant(name, place(self.graph.constants[name]))
            self._tensors[name] = found
        return self._tensors[name]

    def integers(self, name: str) -> int:
        """The 8-bit tensor of a value that ONNX dequantises."""
        node = self._dequantizers[name]
        source = node.inputs[0]
        if source not in self._tensors:
            value = place(self.graph.constants[source])
            self._tensors[source] = self.writer.constant(source, value, self.scales(node))
            self.quantizations[self._tensors[source]] = self.scales(node)
        return self._tensors[source]

    def weights(self, name: str) -> tuple[Array, Node | None]:
        """A constant as ONNX has it, and what dequantises it if it is quantised."""
        node = self._dequantizers.get(name)
        stored = node.inputs[0] if node else name
        if stored not in self.graph.constants:
            raise DeviceError(f"{self.name}: '{name}' must be constant for LiteRT.")
        return self.graph.constants[stored], node

    def scales(self, node: Node, axis: int = 0) -> Quantization:
        """Scales of a quantising or dequantising node."""
        scales, points = (np.atleast_1d(self.graph.constants[name]) for name in node.inputs[1:3])
        return Quantization(tuple(map(float, scales)), tuple(map(int, points)), axis)

    def eight_bit(self, node: Node, inputs: Sequence[str]) -> bool:
        """Whether a layer reads dequantised values alone, and all it writes is quantised."""
        return all(name in self._dequantizers for name in inputs) and all(
            self.quantizer(name) is not None for name in node.outputs
        )

    def quantizer(self, name: str) -> Node | None:
        """The node that quantises a value, if that is its only reader."""
        readers = self._readers.get(name, [])
        alone = len(readers) == 1 and name != self.graph.target
        return readers[0] if alone and readers[0].operator == _QUANTIZE else None

    def written(self, name: str, index: int) -> None:
        """Note in which tensor a value is."""
        self._tensors[name] = index

    def integer_tensor(self, name: str, shape: Sequence[int], scales: Quantization) -> int:
        """A new 8-bit tensor."""
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
        """Write a layer, see `Writer.layer`."""
        self.counts[operator] += 1
        self.writer.layer(operator, inputs, outputs, options, settings)

    def _quantize(self, node: Node) -> None:
        shape, scales = placed(self.graph.shapes[node.outputs[0]]), self.scales(node)
        index = self.integer_tensor(node.outputs[0], shape, scales)
        self.add("QUANTIZE", [self.number(node.inputs[0])], [index], "Quantize")
        self._tensors[node.outputs[0]] = index


class Layer:
    """One ONNX layer about to be written."""

    def __init__(self, converter: Converter, node: Node) -> None:
        self.converter, self.node = converter, node
        self.quantised = False

    def quantise(self, *inputs: int) -> bool:
        """Use 8 bits if these inputs, and all outputs, are quantised."""
        names = [self.node.inputs[index] for index in inputs]
        self.quantised = self.converter.eight_bit(self.node, names)
        return self.quantised

    def input(self, index: int) -> int:
        """The tensor of an input, of integers if the layer is quantised."""
        name = self.node.inputs[index]
        return self.converter.integers(name) if self.quantised else self.converter.number(name)

    def given(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def numbers(self, index: int) -> list[Any]:
        """A constant input as plain numbers."""
        values: list[Any] = np.atleast_1d(
            self.converter.graph.constants[self.node.inputs[index]]
        ).tolist()
        return values

    def setting(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.node.attributes.get(name, default)

    def shape(self, output: int = 0) -> tuple[int, ...]:
        """ONNX's shape of an output."""
        return self.converter.graph.shapes[self.node.outputs[output]]

    def input_shape(self, index: int = 0) -> tuple[int, ...]:
        """ONNX's shape of an input."""
        return self.converter.graph.shapes[self.node.inputs[index]]

    def constant(self, suffix: str, value: Array, scales: Quantization | None = None) -> int:
        """A new constant of this layer."""
        return self.converter.writer.constant(f"{self.node.outputs[0]}/{suffix}", value, scales)

    def scales_out(self, output: int = 0) -> Quantization:
        """Scales that ONNX gives an output."""
        quantizer = self.converter.quantizer(self.node.outputs[output])
        assert quantizer is not None
        return self.converter.scales(quantizer)

    def scales_of(self, tensor: int) -> Quantization:
        """Scales of an 8-bit tensor."""
        return self.converter.quantizations[tensor]

    def between(self, suffix: str, shape: Sequence[int], like: int | None = None) -> int:
        """A tensor inside this layer, with another one's scales if it is quantised."""
        name = f"{self.node.outputs[0]}/{suffix}"
        if self.quantised and like is not None:
            return self.converter.integer_tensor(name, shape, self.scales_of(like))
        return self.converter.writer.tensor(name, shape)

    def write(
        self,
        operator: str,
        inputs: Sequence[int],
        options: str = "",
        settings: Mapping[str, Any] | None = None,
        scales: Quantization | None = None,
    ) -> None:
        """Write the LiteRT layer that gives this layer's outputs.

        Args:
            operator: its name in the schema.
            inputs: its tensors.
            options: its class of settings.
            settings: by the schema's names.
            scales: those that its 8-bit form needs at its outputs, where they are not ONNX's.
        """
        finals = [self._final(output) for output in range(len(self.node.outputs))]
        firsts = list(finals)
        if self.quantised and scales is not None:
            for output, name in enumerate(self.node.outputs):
                if scales != self.scales_out(output):
                    shape = placed(self.shape(output))
                    firsts[output] = self.converter.integer_tensor(f"{name}/first", shape, scales)
        self.converter.add(operator, inputs, firsts, options, settings)
        for first, final in zip(firsts, finals, strict=True):
            if first != final:
                self.converter.add("QUANTIZE", [first], [final], "Quantize")

    def rescaled(self, tensor: int, suffix: str, shape: Sequence[int]) -> int:
        """An 8-bit tensor with the scales of the output; the tensor itself where it has them."""
        if not self.quantised or self.scales_of(tensor) == self.scales_out():
            return tensor
        name = f"{self.node.outputs[0]}/{suffix}"
        found = self.converter.integer_tensor(name, shape, self.scales_out())
        self.converter.add("QUANTIZE", [tensor], [found], "Quantize")
        return found

    def _final(self, output: int) -> int:
        name, shape = self.node.outputs[output], placed(self.shape(output))
        if not self.quantised:
            index = self.converter.writer.tensor(name, shape)
            self.converter.written(name, index)
            return index
        quantizer = self.converter.quantizer(name)
        assert quantizer is not None
        index = self.converter.integer_tensor(quantizer.outputs[0], shape, self.scales_out(output))
        self.converter.written(quantizer.outputs[0], index)
        return index
