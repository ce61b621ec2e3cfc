"""LiteRT (TensorFlow Lite) with XNNPACK: Google's runtime for mobile CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devices.runtimes.base import ConvertingBackend
from devices.runtimes.litert.session import LiteRtSession


class LiteRt(ConvertingBackend):
    """Run `.tflite` files, converted from ONNX; int8 files also have float32 input and output.

    The input of a file is (1, H, W, C), that of a session (1, C, H, W).
    """

    name = "litert"
    session = LiteRtSession
    suffix = ".tflite"
    install_hint = "pip install -c constraints.txt -e '.[litert]'"
    activations = "int8_asymmetric"
    native_precisions = ("float32", "int8")

    def convert(self, onnx_model: Path, precision: str) -> tuple[bytes, dict[str, Any]]:
        """Convert with LiteRT's flatbuffer schema."""
        from devices.runtimes.litert.convert import to_litert

        content, layers = to_litert(onnx_model)
        return content, {
            "layout": "NHWC",
            "layers": layers,
            "rebuild": "portable: any LiteRT of this version or newer loads the file",
        }
