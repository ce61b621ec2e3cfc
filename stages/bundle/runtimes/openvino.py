"""Run a bundle's file in OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Runtime:
    """The processor, by OpenVINO, in float32 where the network is not int8."""

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import openvino

        # Recent processors would compute in bfloat16, which is not what was validated.
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self.compiled = openvino.Core().compile_model(str(file), "CPU", config)
        self.runtime = f"OpenVINO {openvino.__version__.split('-')[0]}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        return self.compiled(images_1CHW)[self.compiled.output(0)].copy()
