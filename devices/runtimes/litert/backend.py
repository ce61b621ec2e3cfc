"""LiteRT (TensorFlow Lite) with XNNPACK: Google's runtime for mobile CPUs."""

from __future__ import annotations

from pathlib import Path

from devices.device import Device
from devices.runtimes.base import MODEL, Backend, Built, staged
from devices.runtimes.litert.session import LiteRtSession
from devices.runtimes.onnx_file import require_activations


class LiteRt(Backend):
    """Run `.tflite` files, converted from ONNX; int8 files also have float32 input and output.

    The input of a file is (1, H, W, C), that of a session (1, C, H, W).
    """

    name = "litert"
    session = LiteRtSession
    suffix = ".tflite"
    install_hint = "pip install -c constraints.txt -e '.[litert]'"
    activations = "int8_asymmetric"
    opens_onnx = False
    native_precisions = ("float32", "int8")

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build a file; reproducible for the same ONNX file and LiteRT version."""
        from devices.runtimes.litert.convert import to_litert

        details = self.start_build(onnx_model, precision, device)
        if precision == "int8":
            require_activations(onnx_model, self.activations)
        content, layers = to_litert(onnx_model)
        entry = f"{MODEL}{self.suffix}"
        with staged(folder) as work:
            (work / entry).write_bytes(content)
            self.open(work / entry, device.threads).close()
        details |= {
            "layout": "NHWC",
            "layers": layers,
            "rebuild": "portable: any LiteRT of this version or newer loads the file",
        }
        return Built((entry,), entry, details)

    def convert(self, onnx_model: Path) -> bytes:
        """Convert an ONNX file."""
        from devices.runtimes.litert.convert import to_litert

        return to_litert(onnx_model)[0]
