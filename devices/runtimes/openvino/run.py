"""Run a bundle's file in OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Runtime:
    """OpenVINO on the CPU (float32 unless the network is int8), an Intel GPU or an NPU.

    UNVERIFIED on GPU and NPU: not tested on such hardware.
    """

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import openvino

        unit = model["details"].get("openvino_device", "CPU")
        # The default on recent CPUs and GPUs is 16-bit compute, which was not validated.
        config = {
            "CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads},
            "GPU": {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"},
            "NPU": {"PERFORMANCE_HINT": "LATENCY"},
        }[unit.partition(".")[0]]
        core = openvino.Core()
        try:
            self.compiled = core.compile_model(str(file), unit, config)
        except RuntimeError as error:
            raise OSError(
                f"OpenVINO cannot use {unit}, which this bundle is for; it finds "
                f"{', '.join(core.available_devices)} ({str(error).strip().splitlines()[-1]}); "
                "--portable runs the ONNX file"
            ) from None
        where = "" if unit == "CPU" else f" on {unit}"
        self.runtime = f"OpenVINO {openvino.__version__.split('-')[0]}{where}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        return self.compiled(images_1CHW)[self.compiled.output(0)].copy()
