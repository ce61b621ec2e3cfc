"""Models in LiteRT. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from devices.runtimes.session import Session, SessionError


class LiteRtSession(Session):
    """A LiteRT file with XNNPACK on the CPU; the input of the file is (1, H, W, C)."""

    runtime, package = "LiteRT", "ai_edge_litert"

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_content=file.read_bytes(), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise SessionError(f"LiteRT cannot load {file.name}: {error}") from error
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
