"""Lower precisions of an ONNX model: static int8 in Q/DQ format, and float16.

The int8 scheme depends on the runtime. ONNX Runtime, OpenVINO and QNN use unsigned 8-bit
activations (`uint8`); TensorRT only supports signed symmetric ones, with float biases (`int8`),
which ONNX Runtime would run slower than float32; XNNPACK, in ExecuTorch and LiteRT, uses signed
ones (`int8_asymmetric`). Core ML is weight-only (`weights_only`).
Axes: N images (1), C channels, H height, W width.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from core.files import write_bytes
from devices.device import Activations, WeightBits
from devices.quantize.calibration import Method, Range, observe, readers_of
from devices.runtimes.base import suppress_warnings

QuantizationMethod = Method | Literal["weights_only"]
"""Calibration method of an int8 file."""
PERCENTILE = 99.99
_LAYERS = ("Conv", "Gemm")
_FUSED = ("Relu", "Clip")


@dataclass(frozen=True)
class Calibrated:
    """A float32 network with calibrated ranges, ready to be quantised fully or partly.

    Attributes:
        model: its ONNX file, with batch norms folded into convolutions.
        activations: the int8 scheme.
        ranges: ranges of its tensors, by method; empty for weight-only quantisation.
        layers: its convolutions and matrix products in order, each with the names of its nodes:
            the layer, and an activation function that only it feeds.
        weight_bits: 8, or 7 for a CPU whose int8 kernels saturate; see `Backend.weight_bits`.
    """

    model: bytes
    activations: Activations
    ranges: Mapping[QuantizationMethod, Mapping[str, Range]]
    layers: Mapping[str, tuple[str, ...]]
    weight_bits: WeightBits = 8


def calibrate(
    model: Path,
    calibration: Iterable[npt.NDArray[np.float32]],
    activations: Activations,
    methods: Sequence[Method],
    percentile: float = PERCENTILE,
    weight_bits: WeightBits = 8,
) -> Calibrated:
    """Calibrate a float32 network of batch 1, in one pass over the images for all methods.

    `weights_only` uses no images, and always 8 bits.

    Raises:
        UserError: there is no calibration image.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if activations == "weights_only":
        content = model.read_bytes()
        return Calibrated(content, activations, {"weights_only": {}}, _layers(content))
    with tempfile.TemporaryDirectory(prefix="netwright-") as name, suppress_warnings():
        folded = Path(name) / "folded.onnx"
        # Fold batch norms and infer shapes, otherwise these layers stay in float.
        quant_pre_process(model, folded, skip_symbolic_shape=True)
        content = folded.read_bytes()
        ranges = observe(folded, calibration, methods, percentile)
    found: dict[QuantizationMethod, dict[str, Range]] = {m: ranges[m] for m in methods}
    return Calibrated(content, activations, found, _layers(content), weight_bits)


def quantize(
    calibrated: Calibrated,
    method: QuantizationMethod,
    in_float: Collection[str] = (),
    only: Collection[str] | None = None,
) -> bytes:
    """Quantise weights and activations to 8 bits, in Q/DQ format.

    Weights are signed, symmetric, one scale per output channel; activations have one scale per
    tensor. Deterministic.

    Args:
        calibrated: the network.
        method: one of its methods.
        in_float: layers that stay in float. Their inputs are still rounded if the layer before
            is quantised.
        only: if given, only these layers are quantised.

    Returns:
        The ONNX file's bytes.
    """
    floats = {*in_float} if only is None else {*in_float} | (calibrated.layers.keys() - {*only})
    content = _with_own_constants(calibrated.model, floats)
    if calibrated.activations == "weights_only":
        return quantize_weights(content, floats)
    excluded = sorted(node for name in in_float for node in calibrated.layers[name])
    chosen = None if only is None else [n for name in only for n in calibrated.layers[name]]
    return _quantize(replace(calibrated, model=content), method, excluded, chosen)


def _quantize(
    calibrated: Calibrated,
    method: QuantizationMethod,
    excluded: Sequence[str],
    chosen: Sequence[str] | None,
) -> bytes:
    import onnxruntime.quantization as ort
    from onnxruntime.quantization.calibrate import TensorData, TensorsData

    # MinMax makes the quantiser use the given ranges, whatever the method.
    kind, activations = ort.CalibrationMethod.MinMax, calibrated.activations
    pairs = calibrated.ranges[method].items()
    ranges = {key: TensorData(lowest=low, highest=high) for key, (low, high) in pairs}
    symmetric = {"ActivationSymmetric": True, "QuantizeBias": False}
    with tempfile.TemporaryDirectory(prefix="netwright-") as name, suppress_warnings():
        source, quantised, cache = (Path(name) / n for n in ("f.onnx", "q.onnx", "ranges.json"))
        source.write_bytes(calibrated.model)
        ort.calibrate.save_tensors_data(TensorsData(kind, ranges), cache)
        ort.quantize_static(
            source,
            quantised,
            calibration_cache_path=cache,
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8 if activations == "uint8" else ort.QuantType.QInt8,
            weight_type=ort.QuantType.QInt8,
            reduce_range=calibrated.weight_bits == 7,
            calibrate_method=kind,
            nodes_to_exclude=list(excluded),
            nodes_to_quantize=None if chosen is None else list(chosen),
            extra_options=symmetric if activations == "int8" else {},
        )
        return quantised.read_bytes()


def quantize_static(
    model: Path,
    out: Path,
    calibration: Iterable[npt.NDArray[np.float32]],
    activations: Activations,
    method: Method = "minmax",
) -> None:
    """Calibrate and quantise a whole network by one method, as `calibrate` and `quantize`."""
    calibrated = calibrate(model, calibration, activations, (method,))
    write_bytes(out, quantize(calibrated, *calibrated.ranges))


def _with_own_constants(content: bytes, layers: Collection[str]) -> bytes:
    """Copy the shared constants of layers.

    Otherwise a bias shared with a quantised layer would also be quantised for layers in float.
    """
    import onnx

    model = onnx.load_from_string(content)
    constants = {constant.name: constant for constant in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node if layers else ():
        for index, name in enumerate(node.input):
            if node.name in layers and name in constants and uses[name] > 1:
                own = model.graph.initializer.add()
                own.CopyFrom(constants[name])
                own.name = node.input[index] = f"{name}_of_{node.name}"
    return content if not layers else bytes(model.SerializeToString(deterministic=True))


def _layers(content: bytes) -> dict[str, tuple[str, ...]]:
    """Convolutions and matrix products by name, each with the names of its nodes."""
    import onnx

    graph = onnx.load_from_string(content).graph
    readers = readers_of(graph)
    found: dict[str, tuple[str, ...]] = {}
    for node in graph.node:
        if node.op_type in _LAYERS:
            after = readers.get(node.output[0], [])
            alone = len(after) == 1 and after[0].op_type in _FUSED
            found[node.name] = (node.name, after[0].name) if alone else (node.name,)
    return found


def quantize_weights(model: bytes, in_float: Collection[str]) -> bytes:
    """Quantise weights of convolutions and matrix products, one scale per output channel.

    Returns the new ONNX file's bytes; the weights of the nodes named in `in_float` stay float.
    """
    import onnx

    content = onnx.load_from_string(model)
    graph = content.graph
    weights = {weight.name: weight for weight in graph.initializer}
    dequantizers: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type not in _LAYERS or node.name in in_float:
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


def to_float16(model: Path, out: Path) -> None:
    """Convert weights and arithmetic of a float32 file to float16; inputs, outputs stay float32."""
    import onnx
    from onnxconverter_common.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(model), keep_io_types=True)
    write_bytes(out, half.SerializeToString(deterministic=True))
