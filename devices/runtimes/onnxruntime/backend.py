"""ONNX Runtime on the CPU of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from devices.device import Device
from devices.runtimes.base import MODEL, Backend, Built, device_errors
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from devices.runtimes.session import Session


class OnnxRuntime(Backend):
    """Run ONNX files; the deliverable is the ONNX file itself."""

    name = "onnxruntime"
    session = OnnxRuntimeSession
    install_hint = "pip install onnxruntime"
    activations = "uint8"
    native_precisions = ("float32", "int8")

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Copy the ONNX file after loading it once as a check."""
        details = self.start_build(onnx_model, precision, device)
        self.open(onnx_model, device.threads).close()
        entry = f"{MODEL}{self.suffix}"
        shutil.copyfile(onnx_model, folder / entry)
        details["rebuild"] = "portable: any ONNX Runtime of this version or newer loads the file"
        return Built((entry,), entry, details)


def open_reference(file: Path) -> Session:
    """Open an ONNX file without Q/DQ fusion: the CPU-independent reference for int8 outputs.

    Raises:
        DeviceError: ONNX Runtime rejects the file.
    """
    with device_errors():
        return OnnxRuntimeSession(file, 1, fused=False)
