"""The runtimes a device may have. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


def quiet() -> None:
    """Keep runtimes from reporting to their makers; call it before one is imported.

    ONNX Runtime starts a thread for it, and OpenVINO a whole process when it is imported: both
    would run beside what is measured, and nobody asked the data's owner.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # OpenVINO has no switch for one process, but does without this package where it is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class OnnxRuntimeSession:
    """An ONNX file in ONNX Runtime, on the processor."""

    runtime, package = "ONNX Runtime", "onnxruntime"

    def __init__(self, file: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle sessions would otherwise spin and disturb whatever else is measured.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0]
        self._outputs = [self._session.get_outputs()[0].name]
        self.input_shape = tuple(self._input.shape)

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        return self._session.run(self._outputs, {self._input.name: images_1CHW})[0]


class OpenVinoSession:
    """An ONNX file or OpenVINO's own format in OpenVINO, on the processor, in float32."""

    runtime, package = "OpenVINO", "openvino"

    def __init__(self, file: Path, threads: int) -> None:
        import openvino

        config = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default on recent processors is bfloat16
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        compiled = openvino.Core().compile_model(file, "CPU", config)
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
    """A LiteRT file, on the processor."""

    runtime, package = "LiteRT", "ai_edge_litert"

    def __init__(self, file: Path, threads: int) -> None:
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


RUNTIMES: dict[str, Any] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
    "litert": LiteRtSession,
}
"""By the backend's name. A new one is one class above and one entry here."""
