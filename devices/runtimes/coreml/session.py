"""Models in Core ML. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from devices.runtimes.session import Session, SessionError

INPUT, OUTPUT = "images", "logits"


class CoreMlSession(Session):
    """A zipped package `NAME.mlpackage.zip`, on an Apple device. UNVERIFIED: needs macOS."""

    runtime, package = "Core ML", "coremltools"
    agent_needs = "macOS, which is not tested"

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        import coremltools

        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(file) as package:
                package.extractall(folder)
            self._model = coremltools.models.MLModel(str(Path(folder) / file.stem))
        images = self._model.get_spec().description.input[0]
        self.input_shape = tuple(images.type.multiArrayType.shape)

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        try:
            return np.array(self._model.predict({INPUT: images_1CHW})[OUTPUT], np.float32)
        except Exception as error:  # coremltools raises no narrower type without Core ML
            raise SessionError(f"Core ML cannot run the model: {error}") from error
