"""Conversion of ONNX files to PyTorch modules, for runtimes that convert only from PyTorch.

Supports the layers that Netwright's exporter writes. Tensors are NCHW: N images, C channels,
H height, W width. Quantised files become `quantized_decomposed` operations of PyTorch, which
ExecuTorch lowers to int8 arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers `quantized_decomposed`
from torch import Tensor, nn
from torch.nn import functional

from devices.runtimes.onnx_graph import DEQUANTIZE, QUANTIZE, Graph, Layer, Node, read_graph

_INT8 = -128, 127, torch.int8


class OnnxModule(nn.Module):
    """Executes an ONNX graph layer by layer."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        read = {name for node in graph.nodes for name in node.inputs if name in graph.constants}
        self.buffer_names = {name: f"constant{i}" for i, name in enumerate(sorted(read))}
        for name, attribute in self.buffer_names.items():
            self.register_buffer(attribute, _buffer(graph.constants[name]))
        for node in graph.nodes:
            if node.operator == DEQUANTIZE and node.inputs[0] in graph.constants:
                # ExecuTorch requires int64 buffers for the zero points of weights.
                attribute = self.buffer_names[node.inputs[2]]
                setattr(self, attribute, getattr(self, attribute).to(torch.int64))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Input shape (1, C, H, W)."""
        return self.graph.shapes[self.graph.source]

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute logits (1, K) of a float image (1, C, H, W)."""
        values: dict[str, Tensor | _Call] = {self.graph.source: images_NCHW}
        for node in self.graph.nodes:
            call = _Call(self, node, values)
            if node.operator == DEQUANTIZE:
                values[node.outputs[0]] = call  # dequantised per consumer, for ExecuTorch
                continue
            found = LAYERS[node.operator](call)
            outputs = found if isinstance(found, tuple) else (found,)
            values.update(zip(node.outputs, outputs, strict=True))
        return _value(values[self.graph.target])


def _buffer(value: Any) -> Tensor:
    """Convert a constant; float16 to float32, so that the converter decides on float16."""
    found = torch.from_numpy(np.array(value))
    return found.to(torch.float32) if found.dtype == torch.float16 else found


def to_torch(onnx_model: Path, float_weights: bool = False) -> OnnxModule:
    """Convert an ONNX file to a module in evaluation mode; `float_weights` dequantises weights.

    Raises:
        DeviceError: the file cannot be read, or has an unsupported layer.
    """
    graph = read_graph(onnx_model, float_weights)
    graph.require_known(onnx_model.name, LAYERS, "PyTorch")
    return OnnxModule(graph).eval()


def export(onnx_model: Path) -> torch.export.ExportedProgram:
    """Export an ONNX file with `torch.export`, at batch 1.

    Raises:
        DeviceError: the file cannot be read, or has an unsupported layer.
    """
    module = to_torch(onnx_model)
    with torch.no_grad():
        return torch.export.export(module, (torch.zeros(module.input_shape),))


class _Call(Layer):
    """One layer with its input values."""

    def __init__(self, module: OnnxModule, node: Node, values: Mapping[str, Any]) -> None:
        super().__init__(module.graph, node)
        self._module, self._values = module, values

    def tensor(self, index: int) -> Tensor:
        """An input, computed or constant."""
        name = self.node.inputs[index]
        if name in self._values:
            return _value(self._values[name])
        buffer: Tensor = getattr(self._module, self._module.buffer_names[name])
        return buffer

    def scales_in(self, index: int) -> tuple[float, int] | None:
        """Scale and zero point of a dequantised input; None if it is not dequantised."""
        found = self._values.get(self.node.inputs[index])
        return found.scales() if isinstance(found, _Call) else None

    def scales_out(self) -> tuple[float, int] | None:
        """Scale and zero point of the output, if its only consumer is QuantizeLinear."""
        node = self.graph.quantizer(self.node.outputs[0])
        return _Call(self._module, node, {}).scales() if node else None

    def scales(self) -> tuple[float, int]:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear node per tensor."""
        return self.constant_values(1)[0], self.constant_values(2)[0]


def _value(found: Tensor | _Call) -> Tensor:
    return _dequantize(found) if isinstance(found, _Call) else found


def _conv(call: _Call) -> Tensor:
    top, left, bottom, right = call.setting("pads", [0, 0, 0, 0])
    images_NCHW = call.tensor(0)
    if (top, left) != (bottom, right):
        images_NCHW = functional.pad(images_NCHW, (left, right, top, bottom))
        top = left = 0
    return functional.conv2d(
        images_NCHW,
        call.tensor(1),
        call.tensor(2) if call.has_input(2) else None,
        call.setting("strides", [1, 1]),
        (top, left),
        call.setting("dilations", [1, 1]),
        call.setting("group", 1),
    )


def _concat(call: _Call) -> Tensor:
    tensors = [call.tensor(index) for index in range(len(call.node.inputs))]
    scales = call.scales_out()
    if scales is not None:
        # XNNPACK only copies integers here, so inputs must have the scale of the output. Rounding
        # to it before instead of after the concatenation gives the same values.
        operations = torch.ops.quantized_decomposed
        for index, tensor in enumerate(tensors):
            if call.scales_in(index) != scales:
                integers = operations.quantize_per_tensor(tensor, *scales, *_INT8)
                tensors[index] = operations.dequantize_per_tensor(integers, *scales, *_INT8)
    return torch.cat(tensors, call.setting("axis"))


def _gemm(call: _Call) -> Tensor:
    weights = call.tensor(1)
    if not call.setting("transB", 0):
        weights = weights.transpose(0, 1)
    return functional.linear(call.tensor(0), weights, call.tensor(2) if call.has_input(2) else None)


def _mean(call: _Call) -> Tensor:
    # XNNPACK pools only with kept axes; the reshape is free.
    return call.tensor(0).mean(call.mean_axes(), keepdim=True).reshape(call.shape())


def _hard_sigmoid(call: _Call) -> Tensor:
    alpha, beta = call.setting("alpha", 0.2), call.setting("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid(call.tensor(0))
    return torch.clamp(call.tensor(0) * alpha + beta, 0.0, 1.0)


def _clip(call: _Call) -> Tensor:
    return functional.hardtanh(call.tensor(0), *call.limits())  # XNNPACK fuses it


def _slice(call: _Call) -> Tensor:
    result = call.tensor(0)
    for axis, wanted in call.slices().items():
        low, high, step = wanted.indices(result.shape[axis])
        result = torch.ops.aten.slice.Tensor(result, axis, low, high, step)
    return result


def _split(call: _Call) -> tuple[Tensor, ...]:
    axis = call.setting("axis", 0)
    sizes = [call.shape(output)[axis] for output in range(len(call.node.outputs))]
    return torch.split(call.tensor(0), sizes, axis)


def _resize(call: _Call) -> Tensor:
    call.require_bilinear("PyTorch")
    height, width = call.shape()[2:]
    return functional.interpolate(
        call.tensor(0), (height, width), mode="bilinear", align_corners=False
    )


def _reshape(call: _Call) -> Tensor:
    return call.tensor(0).reshape(call.shape())


def _quantize(call: _Call) -> Tensor:
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor
    integers: Tensor = quantize(call.tensor(0), *call.scales(), *_INT8)
    return integers


def _dequantize(call: _Call) -> Tensor:
    operations, integers = torch.ops.quantized_decomposed, call.tensor(0)
    values: Tensor
    if len(call.constant_values(1)) == 1:
        values = operations.dequantize_per_tensor(integers, *call.scales(), *_INT8)
    else:
        scales = call.tensor(1), call.tensor(2), call.setting("axis", 1)
        values = operations.dequantize_per_channel(integers, *scales, *_INT8)
    return values


LAYERS: Mapping[str, Callable[[_Call], Tensor | tuple[Tensor, ...]]] = {
    "Add": lambda call: call.tensor(0) + call.tensor(1),
    "Cast": lambda call: call.tensor(0),  # between float32 and float16, see _buffer
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    DEQUANTIZE: _dequantize,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda call: functional.hardswish(call.tensor(0)),
    "Identity": lambda call: call.tensor(0),
    "Mul": lambda call: call.tensor(0) * call.tensor(1),
    QUANTIZE: _quantize,
    "ReduceMean": _mean,
    "Relu": lambda call: functional.relu(call.tensor(0)),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda call: torch.sigmoid(call.tensor(0)),
    "Slice": _slice,
    "Softmax": lambda call: torch.softmax(call.tensor(0), call.setting("axis", -1)),
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": lambda call: call.tensor(0).permute(call.setting("perm")),
    "Unsqueeze": _reshape,
}
