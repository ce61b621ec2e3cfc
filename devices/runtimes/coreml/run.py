"""Run a bundle's file in Core ML. Axes: K classes."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Runtime:
    """Core ML on an Apple device. UNVERIFIED: not tested on a Mac."""

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import coremltools

        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(file) as package:
                package.extractall(folder)
            self.model = coremltools.models.MLModel(str(Path(folder) / file.stem))
        self.runtime = f"Core ML (coremltools {coremltools.__version__})"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        try:
            return np.array(self.model.predict({"images": images_1CHW})["logits"], np.float32)
        except Exception as error:  # coremltools raises no narrower type without Core ML
            raise OSError(f"{error}; --portable runs the ONNX file") from error
