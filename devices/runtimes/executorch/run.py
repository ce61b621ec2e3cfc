"""Run a bundle's file in ExecuTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Runtime:
    """ExecuTorch with XNNPACK on the CPU; the Python API needs PyTorch."""

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import torch
        from executorch.extension.pybindings import portable_lib

        portable_lib._unsafe_reset_threadpool(threads)
        self.to_tensor = torch.from_numpy
        self.program = file.read_bytes()  # must outlive the module, which reads from it
        self.module = portable_lib._load_for_executorch_from_buffer(self.program)
        self.runtime = f"ExecuTorch {model['runtime_version']}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        return self.module.forward([self.to_tensor(images_1CHW)])[0].numpy().copy()
