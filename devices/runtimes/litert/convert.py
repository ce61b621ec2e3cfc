"""Conversion of ONNX files to LiteRT (TensorFlow Lite) files."""

from __future__ import annotations

from pathlib import Path

from devices.device import DeviceError
from devices.runtimes.litert.converter import DEQUANTIZE, QUANTIZE, Converter
from devices.runtimes.litert.layers import LAYERS


def to_litert(onnx_model: Path) -> tuple[bytes, dict[str, int]]:
    """Convert to a LiteRT file with float32 input (1, H, W, C) and output (1, K).

    Returns:
        The bytes of the file, and layer counts by type.

    Raises:
        DeviceError: the file cannot be read, or has an unsupported layer.
    """
    converter = Converter(onnx_model)
    operators = {node.operator for node in converter.graph.nodes}
    unknown = sorted(operators - {*LAYERS, QUANTIZE, DEQUANTIZE})
    if unknown:
        raise DeviceError(
            f"{onnx_model.name} has layers that cannot be converted to LiteRT: "
            f"{', '.join(unknown)}. Known: {', '.join(sorted(LAYERS))}."
        )
    return converter.convert(LAYERS), dict(sorted(converter.counts.items()))
