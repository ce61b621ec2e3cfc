"""Sessions of the agent's runtimes. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from .onnx_session import open_session


class OnnxRuntimeSession:
    """An ONNX file in ONNX Runtime, on the CPU."""

    runtime, package = "ONNX Runtime", "onnxruntime"
    units = ("CPU",)

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        self._session = open_session(str(file), threads)
        self._input = self._session.get_inputs()[0]
        self._outputs = [self._session.get_outputs()[0].name]
        self.input_shape = tuple(self._input.shape)

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        return self._session.run(self._outputs, {self._input.name: images_1CHW})[0]


class OpenVinoSession:
    """An ONNX or IR file in OpenVINO, in float32; GPU and NPU UNVERIFIED."""

    runtime, package = "OpenVINO", "openvino"
    units = ("CPU", "GPU", "NPU")

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        import openvino

        # The defaults are bfloat16 on recent CPUs, and float16 on GPUs.
        config = {
            "CPU": {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            },
            "GPU": {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"},
            "NPU": {"PERFORMANCE_HINT": "LATENCY"},  # no float32 arithmetic
        }[unit.partition(".")[0]]
        # The exact name: fails if the unit is missing, without a fallback.
        compiled = openvino.Core().compile_model(file, unit, config)
        self.input_shape = tuple(compiled.input(0).shape)
        self._request = compiled.create_infer_request()
        self._images_1CHW = self._request.get_input_tensor().data
        self._logits_1K = self._request.get_output_tensor().data

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        self._images_1CHW[:] = images_1CHW
        self._request.infer(share_outputs=True)
        return self._logits_1K.copy()


class LiteRtSession:
    """A LiteRT file, on the CPU."""

    runtime, package = "LiteRT", "ai_edge_litert"
    units = ("CPU",)

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(file), num_threads=threads)
        self._interpreter.allocate_tensors()
        source = self._interpreter.get_input_details()[0]
        self._source = source["index"]
        self._target = self._interpreter.get_output_details()[0]["index"]
        count, height, width, channels = (int(size) for size in source["shape"])
        self.input_shape = (count, channels, height, width)

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        images_1HWC = np.ascontiguousarray(images_1CHW.transpose(0, 2, 3, 1))
        self._interpreter.set_tensor(self._source, images_1HWC)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._target)


class ExecuTorchSession:
    """An ExecuTorch program with XNNPACK, on the CPU; its Python interface needs PyTorch."""

    runtime, package = "ExecuTorch", "executorch"
    units = ("CPU",)

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        import torch

        place = "executorch.extension.pybindings"
        try:  # same API as `portable_lib`, without importing the exporter
            portable_lib = importlib.import_module(f"{place}._C")
        except ImportError:  # other versions
            portable_lib = importlib.import_module(f"{place}.portable_lib")

        # One thread pool per process; a reset invalidates open sessions.
        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
        self._to_tensor = torch.from_numpy
        self._program = file.read_bytes()  # keeps the buffer alive for the module
        self._module = portable_lib._load_for_executorch_from_buffer(self._program)
        self.input_shape = tuple(self._module.method_meta("forward").input_tensor_meta(0).sizes())

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        # PyTorch warns about read-only arrays: copy only those.
        images = self._to_tensor(np.require(images_1CHW, requirements="W"))
        return self._module.forward([images])[0].numpy().copy()


RUNTIMES: dict[str, Any] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
    "litert": LiteRtSession,
    "executorch": ExecuTorchSession,
}
"""By backend name. To add one, add a class above and an entry here."""

MISSING = {
    "tensorrt": "GPU buffers and a driver, which are not tested",
    "qnn": "a session on the DSP itself, as the emulator's latency is not that of the DSP",
    "coreml": "macOS, which is not tested",
}
"""Requirements for the agent to run the other backends."""
