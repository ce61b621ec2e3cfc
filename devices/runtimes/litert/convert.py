"""Conversion of ONNX files to LiteRT (TensorFlow Lite) files, layer by layer.

Axes: N images, C channels, H height, W width, O output channels, I input channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from devices.runtimes.litert.converter import (
    IMAGE_AXES,
    TO_NHWC,
    Converter,
    LiteRtLayer,
    nhwc_shape,
)
from devices.runtimes.litert.file import Quantization
from devices.runtimes.onnx_graph import DEQUANTIZE, QUANTIZE

_TO_NCHW = (0, 3, 1, 2)
_SAME, _VALID = 0, 1
_SHARES = Quantization((1 / 256,), (-128,))
"""Fixed output quantisation of int8 LOGISTIC and SOFTMAX: values from 0 to 1."""


def to_litert(onnx_model: Path) -> tuple[bytes, dict[str, int]]:
    """A LiteRT file with float32 input (1, H, W, C) and output (1, K), and its layers by type.

    Raises:
        DeviceError: the file cannot be read, or has an unsupported layer.
    """
    converter = Converter(onnx_model)
    converter.graph.require_known(onnx_model.name, {*LAYERS, QUANTIZE, DEQUANTIZE}, "LiteRT")
    return converter.convert(LAYERS), dict(sorted(converter.writer.counts.items()))


def _axis(axis: int, rank: int) -> int:
    """Index in the file of an ONNX axis."""
    axis %= rank
    return TO_NHWC.index(axis) if rank == IMAGE_AXES else axis


def _conv(layer: LiteRtLayer) -> None:
    weights_OIHW, source = layer.weights()
    images_NCHW, group = layer.input_shape(), layer.setting("group", 1)
    depthwise = group > 1 and weights_OIHW.shape[1] == 1
    if group > 1 and not depthwise:
        raise layer.error(
            f"a convolution in {group} groups is not supported for LiteRT; use one group or "
            "depthwise."
        )
    order, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    scales = layer.converter.scales(source, axis) if source else None
    weights = layer.constant("weights", weights_OIHW.transpose(order), scales)
    images, padding = _padded(layer, images_NCHW, weights_OIHW.shape[2:])
    (stride_h, stride_w), (dilation_h, dilation_w) = (
        layer.setting(name, [1, 1]) for name in ("strides", "dilations")
    )
    settings = {"padding": padding, "strideH": stride_h, "strideW": stride_w}
    settings |= {"dilationHFactor": dilation_h, "dilationWFactor": dilation_w}
    if depthwise:
        settings["depthMultiplier"] = weights_OIHW.shape[0] // images_NCHW[1]
    bias = _bias(layer, weights_OIHW.shape[0], images, scales)
    operator = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    layer.write(operator, [images, weights, bias], **settings)


def _padded(
    layer: LiteRtLayer, shape_NCHW: Sequence[int], kernel: Sequence[int]
) -> tuple[int, int]:
    """Returns the input and LiteRT's padding mode; adds a PAD layer if neither mode fits."""
    pads = layer.setting("pads", [0, 0, 0, 0])
    images = layer.input(0)
    if not any(pads):
        return images, _VALID
    low, high = [], []
    for size, length, stride, dilation in zip(
        shape_NCHW[2:],
        kernel,
        layer.setting("strides", [1, 1]),
        layer.setting("dilations", [1, 1]),
        strict=True,
    ):
        total = max((-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        low.append(total // 2)
        high.append(total - total // 2)
    if low + high == list(pads):
        return images, _SAME
    top, left, bottom, right = pads
    count, channels, height, width = shape_NCHW
    shape = (count, height + top + bottom, width + left + right, channels)
    padded = layer.intermediate("padded", shape, images)
    amounts = layer.numbers("pads", [[0, 0], [top, bottom], [left, right], [0, 0]])
    layer.writer.layer("PAD", [images, amounts], [padded])
    return padded, _VALID


def _bias(layer: LiteRtLayer, count: int, images: int, scales: Quantization | None) -> int:
    """Write the bias; int32 with scale input * weight in a quantised layer."""
    bias_O = np.zeros(count, np.float32)
    if layer.has_input(2):
        bias_O = layer.graph.constants[layer.node.inputs[2]].astype(np.float32)
    if scales is None:
        return layer.constant("bias", bias_O)
    (scale,) = layer.writer.quantizations[images].scales
    products = np.array(scales.scales, np.float64) * scale
    limits = np.iinfo(np.int32)
    integers_O = np.clip(np.rint(bias_O / products), limits.min, limits.max).astype(np.int32)
    found = Quantization(tuple(map(float, products)), (0,) * len(products))
    return layer.constant("bias", integers_O, found)


def _gemm(layer: LiteRtLayer) -> None:
    weights, source = layer.weights()
    weights_OI = weights if layer.setting("transB", 0) else weights.T
    scales = layer.converter.scales(source) if source else None
    index, images = layer.constant("weights", weights_OI, scales), layer.input(0)
    bias = _bias(layer, len(weights_OI), images, scales)
    layer.write("FULLY_CONNECTED", [images, index, bias])


def _mean(layer: LiteRtLayer) -> None:
    rank = len(layer.input_shape())
    places = sorted(_axis(axis, rank) for axis in layer.mean_axes())
    layer.quantise(0)
    inputs = [layer.input(0), layer.numbers("axes", places)]
    layer.write("MEAN", inputs, keepDims=len(layer.shape()) == rank)


def _plain(
    operator: str,
    inputs: int = 1,
    scales: Quantization | None = None,
    eight_bit: bool = True,
    **settings: Any,
) -> Callable[[LiteRtLayer], None]:
    """A layer of the same inputs, in order."""

    def write(layer: LiteRtLayer) -> None:
        if eight_bit:
            layer.quantise(*range(inputs))
        layer.write(operator, [layer.input(i) for i in range(inputs)], scales, **settings)

    return write


def _softmax(layer: LiteRtLayer) -> None:
    rank = len(layer.input_shape())
    if _axis(layer.setting("axis", -1), rank) != rank - 1:
        raise layer.error("softmax only over the last axis in LiteRT.")
    _plain("SOFTMAX", scales=_SHARES, beta=1.0)(layer)


def _hard_sigmoid(layer: LiteRtLayer) -> None:
    """Write MUL, ADD and RELU_0_TO_1, because LiteRT has no hard sigmoid."""
    shape = nhwc_shape(layer.shape())
    scaled, shifted = layer.intermediate("scaled", shape), layer.intermediate("shifted", shape)
    alpha, beta = (
        np.array([layer.setting(name, default)], np.float32)
        for name, default in (("alpha", 0.2), ("beta", 0.5))
    )
    layer.writer.layer("MUL", [layer.input(0), layer.constant("alpha", alpha)], [scaled])
    layer.writer.layer("ADD", [scaled, layer.constant("beta", beta)], [shifted])
    layer.write("RELU_0_TO_1", [shifted])


def _clip(layer: LiteRtLayer) -> None:
    """Write RELU6, the only range that operators of a space clip to."""
    if (limits := layer.limits()) != (0.0, 6.0):
        raise layer.error(f"clips to {limits}; LiteRT can clip from 0 to 6.")
    _plain("RELU6")(layer)


def _concat(layer: LiteRtLayer) -> None:
    count, rank = len(layer.node.inputs), len(layer.shape())
    layer.quantise(*range(count))
    inputs = [
        layer.requantise(layer.input(i), f"input{i}", nhwc_shape(layer.input_shape(i)))
        for i in range(count)
    ]
    layer.write("CONCATENATION", inputs, axis=_axis(layer.setting("axis"), rank))


def _slice(layer: LiteRtLayer) -> None:
    sizes = nhwc_shape(layer.input_shape())
    ranges = [(0, size, 1) for size in sizes]
    for axis, wanted in layer.slices().items():
        where = _axis(axis, len(sizes))
        ranges[where] = wanted.indices(sizes[where])
    layer.quantise(0)
    images = layer.input(0)
    numbers = map(layer.numbers, ("begin", "end", "step"), zip(*ranges, strict=True))
    layer.write("STRIDED_SLICE", [images, *numbers], layer.scales_of(images))


def _split(layer: LiteRtLayer) -> None:
    rank, axis = len(layer.input_shape()), layer.setting("axis", 0)
    sizes = [layer.shape(output)[axis] for output in range(len(layer.node.outputs))]
    layer.quantise(0)
    images = layer.input(0)
    where = layer.numbers("axis", _axis(axis, rank))
    inputs = [images, layer.numbers("sizes", sizes), where]
    layer.write("SPLIT_V", inputs, layer.scales_of(images), numSplits=len(sizes))


def _reshape(layer: LiteRtLayer) -> None:
    """Reshape in ONNX's order of axes; transposes if the order matters."""
    layer.quantise(0)
    before, after, images = layer.input_shape(), layer.shape(), layer.input(0)
    if not _order_is_free(before):
        found = layer.intermediate("nchw", before, images)
        order = layer.numbers("nchw/order", _TO_NCHW)
        layer.writer.layer("TRANSPOSE", [images, order], [found])
        images = found
    scales = layer.scales_of(images)
    if _order_is_free(after):
        shape = nhwc_shape(after)
        inputs = [images, layer.numbers("shape", shape)]
        layer.write("RESHAPE", inputs, scales, newShape=list(shape))
        return
    between = layer.intermediate("reshaped", after, images)
    inputs = [images, layer.numbers("shape", after)]
    layer.writer.layer("RESHAPE", inputs, [between], newShape=list(after))
    layer.write("TRANSPOSE", [between, layer.numbers("order", TO_NHWC)], scales)


def _order_is_free(shape: Sequence[int]) -> bool:
    """Whether the values of a shape have the same order in ONNX and LiteRT."""
    return len(shape) != IMAGE_AXES or shape[1] == 1 or shape[2] * shape[3] == 1


def _transpose(layer: LiteRtLayer) -> None:
    order = layer.setting("perm")
    if len(order) == IMAGE_AXES:  # NHWC to NCHW, permute, NCHW to NHWC
        order = [_TO_NCHW[order[axis]] for axis in TO_NHWC]
    layer.quantise(0)
    images = layer.input(0)
    layer.write("TRANSPOSE", [images, layer.numbers("order", order)], layer.scales_of(images))


def _resize(layer: LiteRtLayer) -> None:
    layer.require_bilinear("LiteRT")
    size = layer.numbers("size", layer.shape()[2:])
    layer.write("RESIZE_BILINEAR", [layer.input(0), size], halfPixelCenters=True)


LAYERS: Mapping[str, Callable[[LiteRtLayer], None]] = {
    "Add": _plain("ADD", inputs=2),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain("HARD_SWISH", eight_bit=False),
    "Identity": _reshape,
    "Mul": _plain("MUL", inputs=2),
    "ReduceMean": _mean,
    "Relu": _plain("RELU"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _plain("LOGISTIC", scales=_SHARES),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
