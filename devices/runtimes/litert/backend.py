"""LiteRT (TensorFlow Lite) with XNNPACK: Google's runtime for mobile CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Backend, Built, Session, require_activations


class LiteRt(Backend):
    """Run `.tflite` files, converted from ONNX; int8 files also have float32 input and output.

    The input of a file is (1, H, W, C), that of a session (1, C, H, W).
    """

    name = "litert"
    runtime = "LiteRT"
    package = "ai_edge_litert"
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
        _session(content, onnx_model.name, device.threads).close()
        entry = f"{MODEL}.tflite"
        (folder / entry).write_bytes(content)
        details |= {
            "layout": "NHWC",
            "layers": layers,
            "rebuild": "portable: any LiteRT of this version or newer loads the file",
        }
        return Built((entry,), entry, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Load a LiteRT file, or convert and load an ONNX file."""
        from devices.runtimes.litert.convert import to_litert

        if not entry.is_file():
            raise DeviceError(f"{entry}: no such file.")
        content = to_litert(entry)[0] if entry.suffix == ".onnx" else entry.read_bytes()
        return _session(content, entry.name, threads)


def _session(content: bytes, name: str, threads: int) -> Session:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise DeviceError(f"LiteRT cannot load {name}: {error}") from error
    return _LiteRtSession(interpreter)


class _LiteRtSession(Session):
    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._source, self._target = source["index"], target["index"]
        count, height, width, channels = (int(size) for size in source["shape"])
        self._shape = (count, channels, height, width)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        images_1HWC = np.ascontiguousarray(images_1CHW.transpose(0, 2, 3, 1))
        self._interpreter.set_tensor(self._source, images_1HWC)
        self._interpreter.invoke()
        logits_1K: npt.NDArray[np.float32] = self._interpreter.get_tensor(self._target)
        return logits_1K

    def close(self) -> None:
        del self._interpreter
