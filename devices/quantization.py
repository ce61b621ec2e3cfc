"""Lower precisions of an ONNX model: static int8 in Q/DQ form, and float16.

A file suits one family of runtimes. ONNX Runtime, OpenVINO and QNN want unsigned 8-bit activations;
TensorRT knows only signed symmetric ones, which ONNX Runtime would run slower than float32; and
XNNPACK, in ExecuTorch and LiteRT, wants signed ones with any zero point. Core ML keeps them in
float, and takes 8 bits for the weights alone.
Axes: N images (1 here), C channels, H height, W width.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Activations = Literal["uint8", "int8", "int8_asymmetric", "weights_only"]
"""Families of int8 files, by the type of their activations."""


class QuantizationError(ValueError):
    """A model or calibration set that cannot be quantised; the message says why."""


def quantize_static(
    model: Path,
    out: Path,
    calibration: Iterable[npt.NDArray[np.float32]],
    activations: Activations,
) -> None:
    """Quantise weights and activations to 8 bits, with ranges observed on calibration images.

    Weights are signed, symmetric, one scale per output channel; activations have one scale per
    tensor, from the smallest and largest value seen. Equal inputs give equal bytes, whatever the
    number of the machine's cores: the images are run on one thread.

    Args:
        model: a float32 ONNX file with one input of batch 1.
        out: the file to write, replaced whole.
        calibration: normalised images, each float32 (1, C, H, W).
        activations: `uint8` (ONNX Runtime, OpenVINO, QNN), `int8`, symmetric with float biases
            (TensorRT), `int8_asymmetric` (XNNPACK), or `weights_only` (Core ML), for which
            no image is looked at.

    Raises:
        QuantizationError: there is no calibration image.
    """
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if activations == "weights_only":
        return _quantize_weights(model, out)
    symmetric = {"ActivationSymmetric": True, "QuantizeBias": False}
    with tempfile.TemporaryDirectory(dir=out.parent) as name, _quiet():
        folded, quantised = Path(name) / "folded.onnx", Path(name) / "quantised.onnx"
        ranges = Path(name) / "ranges.json"
        # Batch norms are folded into convolutions and shapes inferred, or they stay in float.
        quant_pre_process(model, folded, skip_symbolic_shape=True)
        _calibrate(folded, ranges, _reader(input_name(model), calibration))
        quantize_static(
            folded,
            quantised,
            calibration_cache_path=ranges,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8 if activations == "uint8" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=symmetric if activations == "int8" else {},
        )
        quantised.replace(out)


def _quantize_weights(model: Path, out: Path) -> None:
    """Weights of convolutions and matrix products as integers with a scale per output channel."""
    import onnx

    content = onnx.load(model)
    graph = content.graph
    weights = {weight.name: weight for weight in graph.initializer}
    dequantizers: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in weights:
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
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        temporary = Path(folder) / "quantised.onnx"
        temporary.write_bytes(content.SerializeToString(deterministic=True))
        temporary.replace(out)


def _per_channel(
    values: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Integers, and per index of the axis the scale and the zero point, which is 0."""
    others = tuple(a for a in range(values.ndim) if a != axis)
    largest = np.abs(values).max(others, keepdims=True)
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    integers = np.rint(values / scales).astype(np.int8)
    return integers, scales.ravel(), np.zeros(scales.size, np.int8)


def to_float16(model: Path, out: Path) -> None:
    """Convert weights and arithmetic to float16; input and output stay float32.

    Args:
        model: a float32 ONNX file.
        out: the file to write, replaced whole.
    """
    import onnx
    from onnxconverter_common.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(model), keep_io_types=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        temporary = Path(name) / "half.onnx"
        temporary.write_bytes(half.SerializeToString(deterministic=True))
        temporary.replace(out)


def input_name(model: Path) -> str:
    """The name of an ONNX model's only input.

    Raises:
        QuantizationError: the model has none, or several.
    """
    import onnx

    graph = onnx.load(model).graph
    weights = {weight.name for weight in graph.initializer}
    names = [value.name for value in graph.input if value.name not in weights]
    if len(names) != 1:
        raise QuantizationError(f"{model} needs exactly one input; it has {len(names)}: {names}.")
    return str(names[0])


def _calibrate(model: Path, ranges: Path, reader: Any) -> None:
    """Write the smallest and largest value of every tensor over the reader's images.

    `quantize_static` would do it in a session with one thread a core, and sums depend on that.
    """
    import onnxruntime
    from onnxruntime.quantization import MinMaxCalibrater, save_tensors_data

    augmented = model.with_name("augmented.onnx")
    calibrator = MinMaxCalibrater(model, augmented_model_path=str(augmented))
    calibrator.augment_graph()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # As the calibrator's own session: optimised graphs lack tensors whose ranges are wanted.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    calibrator.infer_session = onnxruntime.InferenceSession(
        str(augmented), options, providers=["CPUExecutionProvider"]
    )
    calibrator.collect_data(reader)
    save_tensors_data(calibrator.compute_data(), ranges)


def _reader(name: str, images: Iterable[npt.NDArray[np.float32]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(images)
            self.count = 0

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            row_1CHW = next(self.rows, None)
            if row_1CHW is None and self.count == 0:
                raise QuantizationError("static quantisation needs at least one calibration image.")
            self.count += 1
            return None if row_1CHW is None else {name: row_1CHW}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice about its own use out of the user's log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
