"""Conversion of each ONNX layer to LiteRT; see `devices.runtimes.litert.convert`.

Axes: N images, C channels, H height, W width, O output channels, I input channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import DeviceError
from devices.runtimes.litert.converter import IMAGE_AXES, TO_NHWC, LiteRtLayer, nhwc_shape
from devices.runtimes.litert.file import Quantization

Array = npt.NDArray[Any]
_TO_NCHW = (0, 3, 1, 2)
_SAME, _VALID = 0, 1
_SHARES = Quantization((1 / 256,), (-128,))
"""Fixed output quantisation of int8 LOGISTIC and SOFTMAX: values from 0 to 1."""


def _axis(axis: int, rank: int) -> int:
    """Index in the file of an ONNX axis."""
    axis %= rank
    return TO_NHWC.index(axis) if rank == IMAGE_AXES else axis


def _conv(layer: LiteRtLayer) -> None:
    weights_OIHW, source = layer.converter.weights(layer.node.inputs[1])
    images_NCHW, group = layer.input_shape(), layer.setting("group", 1)
    depthwise = group > 1 and weights_OIHW.shape[1] == 1
    if group > 1 and not depthwise:
        raise DeviceError(
            f"{layer.converter.name}: a convolution in {group} groups is not supported for LiteRT; "
            "use one group or depthwise."
        )
    layer.quantise(0, 1)
    order, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    scales = layer.converter.scales(source, axis) if source and layer.quantised else None
    if source and not layer.quantised:
        raise DeviceError(f"{layer.converter.name}: a convolution is only partly quantised.")
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
    options = "DepthwiseConv2D" if depthwise else "Conv2D"
    layer.write(operator, [images, weights, bias], options, settings)


def _padded(
    layer: LiteRtLayer, shape_NCHW: Sequence[int], kernel: Sequence[int]
) -> tuple[int, int]:
    """Returns the input and LiteRT's padding mode; adds a PAD layer if neither mode fits."""
    pads = layer.setting("pads", [0, 0, 0, 0])
    images = layer.input(0)
    if not any(pads):
        return images, _VALID
    wanted = []
    for size, length, stride, dilation in zip(
        shape_NCHW[2:],
        kernel,
        layer.setting("strides", [1, 1]),
        layer.setting("dilations", [1, 1]),
        strict=True,
    ):
        total = max((-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        wanted.append((total // 2, total - total // 2))
    if [low for low, _ in wanted] + [high for _, high in wanted] == list(pads):
        return images, _SAME
    top, left, bottom, right = pads
    count, channels, height, width = shape_NCHW
    shape = (count, height + top + bottom, width + left + right, channels)
    padded = layer.intermediate("padded", shape, images)
    amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    layer.converter.add("PAD", [images, layer.constant("pads", amounts)], [padded], "Pad")
    return padded, _VALID


def _bias(layer: LiteRtLayer, count: int, images: int, scales: Quantization | None) -> int:
    """Write the bias; int32 with scale input * weight in a quantised layer."""
    bias_O = np.zeros(count, np.float32)
    if layer.has_input(2):
        bias_O = layer.graph.constants[layer.node.inputs[2]].astype(np.float32)
    if scales is None:
        return layer.constant("bias", bias_O)
    (scale,) = layer.scales_of(images).scales
    products = np.array(scales.scales, np.float64) * scale
    limits = np.iinfo(np.int32)
    integers_O = np.clip(np.rint(bias_O / products), limits.min, limits.max).astype(np.int32)
    found = Quantization(tuple(map(float, products)), (0,) * len(products))
    return layer.constant("bias", integers_O, found)


def _gemm(layer: LiteRtLayer) -> None:
    weights, source = layer.converter.weights(layer.node.inputs[1])
    layer.quantise(0, 1)
    weights_OI = weights if layer.setting("transB", 0) else weights.T
    scales = None
    if source:
        if not layer.quantised:
            raise DeviceError(f"{layer.converter.name}: a matrix product is only partly quantised.")
        scales = layer.converter.scales(source, 0)
    index, images = layer.constant("weights", weights_OI, scales), layer.input(0)
    bias = _bias(layer, len(weights_OI), images, scales)
    layer.write("FULLY_CONNECTED", [images, index, bias], "FullyConnected")


def _pair(operator: str, options: str) -> Callable[[LiteRtLayer], None]:
    def write(layer: LiteRtLayer) -> None:
        layer.quantise(0, 1)
        layer.write(operator, [layer.input(0), layer.input(1)], options)

    return write


def _mean(layer: LiteRtLayer) -> None:
    rank = len(layer.input_shape())
    places = np.array(sorted(_axis(axis, rank) for axis in layer.mean_axes()), np.int32)
    kept = len(layer.shape()) == rank
    layer.quantise(0)
    layer.write(
        "MEAN", [layer.input(0), layer.constant("axes", places)], "Reducer", {"keepDims": kept}
    )


def _plain(
    operator: str, options: str = "", scales: Quantization | None = None, eight_bit: bool = True
) -> Callable[[LiteRtLayer], None]:
    def write(layer: LiteRtLayer) -> None:
        if eight_bit:
            layer.quantise(0)
        settings = {"beta": 1.0} if operator == "SOFTMAX" else None
        layer.write(operator, [layer.input(0)], options, settings, scales)

    return write


def _softmax(layer: LiteRtLayer) -> None:
    rank = len(layer.input_shape())
    if _axis(layer.setting("axis", -1), rank) != rank - 1:
        raise DeviceError(f"{layer.converter.name}: softmax only over the last axis in LiteRT.")
    _plain("SOFTMAX", "Softmax", _SHARES)(layer)


def _hard_sigmoid(layer: LiteRtLayer) -> None:
    """Write MUL, ADD and RELU_0_TO_1, because LiteRT has no hard sigmoid."""
    shape, alpha, beta = (
        nhwc_shape(layer.shape()),
        layer.setting("alpha", 0.2),
        layer.setting("beta", 0.5),
    )
    scaled, shifted = layer.intermediate("scaled", shape), layer.intermediate("shifted", shape)
    factor, offset = (np.array([value], np.float32) for value in (alpha, beta))
    add = layer.converter.add
    add("MUL", [layer.input(0), layer.constant("alpha", factor)], [scaled], "Mul")
    add("ADD", [scaled, layer.constant("beta", offset)], [shifted], "Add")
    layer.write("RELU_0_TO_1", [shifted])


def _concat(layer: LiteRtLayer) -> None:
    count, rank = len(layer.node.inputs), len(layer.shape())
    layer.quantise(*range(count))
    inputs = [
        layer.requantise(layer.input(i), f"input{i}", nhwc_shape(layer.input_shape(i)))
        for i in range(count)
    ]
    settings = {"axis": _axis(layer.setting("axis"), rank)}
    layer.write("CONCATENATION", inputs, "Concatenation", settings)


def _slice(layer: LiteRtLayer) -> None:
    rank, sizes = len(layer.input_shape()), nhwc_shape(layer.input_shape())
    begin, end, stride = (
        np.zeros(rank, np.int32),
        np.array(sizes, np.int32),
        np.ones(rank, np.int32),
    )
    for axis, wanted in layer.slices().items():
        where = _axis(axis, rank)
        begin[where], end[where], stride[where] = wanted.indices(sizes[where])
    layer.quantise(0)
    images = layer.input(0)
    numbers = [layer.constant(n, v) for n, v in (("begin", begin), ("end", end), ("step", stride))]
    layer.write("STRIDED_SLICE", [images, *numbers], "StridedSlice", None, _like(layer, images))


def _split(layer: LiteRtLayer) -> None:
    rank, axis = len(layer.input_shape()), layer.setting("axis", 0)
    sizes = [layer.shape(output)[axis] for output in range(len(layer.node.outputs))]
    layer.quantise(0)
    images = layer.input(0)
    where = layer.constant("axis", np.array(_axis(axis, rank), np.int32))
    lengths = layer.constant("sizes", np.array(sizes, np.int32))
    settings = {"numSplits": len(sizes)}
    layer.write("SPLIT_V", [images, lengths, where], "SplitV", settings, _like(layer, images))


def _like(layer: LiteRtLayer, tensor: int) -> Quantization | None:
    """Quantisation of the input, for layers that only move values."""
    return layer.scales_of(tensor) if layer.quantised else None


def _reshape(layer: LiteRtLayer) -> None:
    """Reshape in ONNX's order of axes; transposes if the order matters."""
    layer.quantise(0)
    before, after, images = layer.input_shape(), layer.shape(), layer.input(0)
    if len(before) == IMAGE_AXES and not _order_is_free(before):
        images = _transposed(layer, images, "nchw", before, _TO_NCHW)
    scales = _like(layer, images)
    if len(after) != IMAGE_AXES or _order_is_free(after):
        _reshaped(layer, images, nhwc_shape(after), None, scales)
        return
    between = layer.intermediate("reshaped", after, images)
    _reshaped(layer, images, after, between, scales)
    order = layer.constant("order", np.array(TO_NHWC, np.int32))
    layer.write("TRANSPOSE", [between, order], "Transpose", None, scales)


def _reshaped(
    layer: LiteRtLayer,
    images: int,
    shape: Sequence[int],
    target: int | None,
    scales: Quantization | None,
) -> None:
    inputs = [images, layer.constant("shape", np.array(shape, np.int32))]
    settings = {"newShape": list(shape)}
    if target is None:
        layer.write("RESHAPE", inputs, "Reshape", settings, scales)
    else:
        layer.converter.add("RESHAPE", inputs, [target], "Reshape", settings)


def _order_is_free(shape_NCHW: Sequence[int]) -> bool:
    _, channels, height, width = shape_NCHW
    return channels == 1 or height * width == 1


def _transposed(
    layer: LiteRtLayer, images: int, suffix: str, shape: Sequence[int], order: Sequence[int]
) -> int:
    found = layer.intermediate(suffix, shape, images)
    numbers = layer.constant(f"{suffix}/order", np.array(order, np.int32))
    layer.converter.add("TRANSPOSE", [images, numbers], [found], "Transpose")
    return found


def _transpose(layer: LiteRtLayer) -> None:
    order = layer.setting("perm")
    if len(order) == IMAGE_AXES:  # NHWC to NCHW, permute, NCHW to NHWC
        order = [_TO_NCHW[order[axis]] for axis in TO_NHWC]
    layer.quantise(0)
    images = layer.input(0)
    numbers = layer.constant("order", np.array(order, np.int32))
    layer.write("TRANSPOSE", [images, numbers], "Transpose", None, _like(layer, images))


def _resize(layer: LiteRtLayer) -> None:
    layer.require_bilinear("LiteRT")
    size = layer.constant("size", np.array(layer.shape()[2:], np.int32))
    layer.write(
        "RESIZE_BILINEAR", [layer.input(0), size], "ResizeBilinear", {"halfPixelCenters": True}
    )


LAYERS: Mapping[str, Callable[[LiteRtLayer], None]] = {
    "Add": _pair("ADD", "Add"),
    "Concat": _concat,
    "Conv": _conv,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain("HARD_SWISH", "HardSwish", eight_bit=False),
    "Identity": _reshape,
    "Mul": _pair("MUL", "Mul"),
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
