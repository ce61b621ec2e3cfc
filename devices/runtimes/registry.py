"""Table of backends. To add one, add a folder here and its backend to `BACKENDS`."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import closest
from devices.device import Device, DeviceError
from devices.runtimes.base import Backend
from devices.runtimes.coreml.backend import CoreMl
from devices.runtimes.executorch.backend import ExecuTorch
from devices.runtimes.litert.backend import LiteRt
from devices.runtimes.onnxruntime.backend import OnnxRuntime
from devices.runtimes.openvino.backend import OpenVino
from devices.runtimes.qnn.backend import Qnn
from devices.runtimes.tensorrt.backend import TensorRt

BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        OnnxRuntime(),
        OpenVino(),
        TensorRt(),
        Qnn(),
        ExecuTorch(),
        LiteRt(),
        CoreMl(),
    )
}


def backend(name: str) -> Backend:
    """Look up a backend by name.

    Raises:
        DeviceError: there is none; the message has the closest name.
    """
    if name not in BACKENDS:
        hint = closest(name, BACKENDS)
        raise DeviceError(f"backend: no backend '{name}'.{hint} Known: {', '.join(BACKENDS)}.")
    return BACKENDS[name]


def device_backend(device: Device) -> Backend:
    """The backend of a device, for its compute unit.

    Raises:
        DeviceError: there is none; the message has the closest name.
    """
    return backend(device.backend).for_unit(device.openvino_device)
