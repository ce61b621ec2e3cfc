"""ONNX Runtime on the CPU of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.measure.agent.onnx_session import open_session
from devices.runtimes.base import MODEL, Backend, Built, Session


class OnnxRuntime(Backend):
    """Run ONNX files; the deliverable is the ONNX file itself."""

    name = "onnxruntime"
    runtime = "ONNX Runtime"
    package = "onnxruntime"
    install_hint = "pip install onnxruntime"
    activations = "uint8"
    native_precisions = ("float32", "int8")

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Copy the ONNX file after loading it once as a check."""
        details = self.start_build(onnx_model, precision, device)
        self.open(onnx_model, device.threads).close()
        entry = f"{MODEL}.onnx"
        shutil.copyfile(onnx_model, folder / entry)
        details["rebuild"] = "portable: any ONNX Runtime of this version or newer loads the file"
        return Built((entry,), entry, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Load an ONNX file on the CPU."""
        return _open(entry, threads)


def open_reference(file: Path, threads: int = 1) -> Session:
    """Open an ONNX file without Q/DQ fusion: the CPU-independent reference for int8 outputs.

    Raises:
        DeviceError: ONNX Runtime rejects the file.
    """
    return _open(file, threads, fused=False)


def _open(file: Path, threads: int, fused: bool = True) -> Session:
    try:
        return OnnxRuntimeSession(open_session(str(file), threads, fused))
    except refusals() as error:
        raise DeviceError(f"ONNX Runtime cannot load {file}: {error}") from error


def refusals() -> tuple[type[Exception], ...]:
    """Exceptions of ONNX Runtime for a file that it cannot run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )


class OnnxRuntimeSession(Session):
    """An `InferenceSession` with one input and one output."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0]
        self._outputs = [session.get_outputs()[0].name]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Input shape (1, C, H, W)."""
        return tuple(self._input.shape)

    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one normalised image (1, C, H, W); returns logits (1, K)."""
        logits_1K: npt.NDArray[np.float32] = self._session.run(
            self._outputs, {self._input.name: images_1CHW}
        )[0]
        return logits_1K

    def close(self) -> None:
        """Free the session."""
        del self._session
