"""Run a bundle's file in LiteRT. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Runtime:
    """LiteRT with XNNPACK on the CPU."""

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=str(file), num_threads=threads)
        self.interpreter.allocate_tensors()
        self.source = self.interpreter.get_input_details()[0]["index"]
        self.target = self.interpreter.get_output_details()[0]["index"]
        self.runtime = f"LiteRT {model['runtime_version']}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        images_1HWC = np.ascontiguousarray(images_1CHW.transpose(0, 2, 3, 1))
        self.interpreter.set_tensor(self.source, images_1HWC)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.target)
