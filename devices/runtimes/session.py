"""Interface of a model opened in a runtime.

`NAME/session.py` implements it for the runtime `NAME`. The device agent and a bundle's `run.py`
contain these files, so they import only the standard library, NumPy, the runtime, `processor.py`
and each other; the runtime inside functions.

Axes: C channels, H height, W width, K classes.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import numpy as np
import numpy.typing as npt

# Before any runtime is imported: ONNX Runtime starts a telemetry thread and OpenVINO a process on
# import. Both would disturb measurements, and send data without the user's consent.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO has no switch per process, but runs without this package.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class SessionError(ValueError):
    """A model that its runtime cannot load or run; the message names both and the reason."""


class Session(ABC):
    """A model loaded into its runtime; a context manager that closes it.

    Attributes:
        runtime: display name of the runtime.
        package: Python package of the runtime.
        units: compute units, by the runtime's names.
        agent_needs: what the device agent would need to run it; empty if it can.
        input_shape: (1, C, H, W).
        where: addition to the description, such as ` on GPU`.
    """

    runtime: ClassVar[str]
    package: str
    units: ClassVar[tuple[str, ...]] = ("CPU",)
    agent_needs: ClassVar[str] = ""
    input_shape: tuple[int, ...]
    where = ""

    @abstractmethod
    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        """Load a model file.

        Raises:
            SessionError: the runtime cannot load it.
        """

    @abstractmethod
    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one normalised float32 image (1, C, H, W); returns logits (1, K).

        Raises:
            SessionError: the runtime cannot run the model.
        """

    @property
    def description(self) -> str:
        """Runtime, its version, and where it runs."""
        module = sys.modules[self.package]
        version = getattr(module, "__version__", None) or importlib.metadata.version(self.package)
        return f"{self.runtime} {version.split('-')[0]}{self.where}"

    def close(self) -> None:
        """Free the resources of the runtime."""
        self.__dict__.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
