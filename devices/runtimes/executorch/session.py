"""Models in ExecuTorch. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

import importlib
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from devices.runtimes.session import Session, SessionError


class ExecuTorchSession(Session):
    """An ExecuTorch program with XNNPACK, on the CPU; its Python interface needs PyTorch."""

    runtime, package = "ExecuTorch", "executorch"

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        import torch

        bindings = _bindings()
        _use_threads(bindings, threads)
        self._to_tensor = torch.from_numpy
        self._program = file.read_bytes()  # keeps the buffer alive for the module
        try:
            self._module = bindings._load_for_executorch_from_buffer(self._program)
            images = self._module.method_meta("forward").input_tensor_meta(0)
        except RuntimeError as error:
            raise SessionError(f"ExecuTorch cannot load {file.name}: {error}") from error
        self.input_shape = tuple(images.sizes())
        _OPEN.add(self)

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        # PyTorch warns about read-only arrays: copy only those.
        images = self._to_tensor(np.require(images_1CHW, requirements="W"))
        try:
            return self._module.forward([images])[0].numpy().copy()
        except RuntimeError as error:
            raise SessionError(f"ExecuTorch cannot run the model: {error}") from error

    def close(self) -> None:
        """Free the program."""
        _OPEN.discard(self)
        super().close()


_OPEN: weakref.WeakSet[ExecuTorchSession] = weakref.WeakSet()
"""Open sessions, which use the thread pool of the process."""


def _bindings() -> Any:
    """The runtime's Python bindings, without the exporter if the version has them apart."""
    package = "executorch.extension.pybindings"
    try:
        return importlib.import_module(f"{package}._C")
    except ImportError:
        return importlib.import_module(f"{package}.portable_lib")


def _use_threads(bindings: Any, threads: int) -> None:
    """Set the size of the thread pool, of which a process has one.

    Raises:
        SessionError: open sessions use another size, which a reset would invalidate.
    """
    count = bindings._threadpool_get_thread_count
    if count() == threads:
        return
    if len(_OPEN) > 0:
        raise SessionError(
            f"ExecuTorch has one thread pool per process: open sessions use {count()} threads, "
            f"so none can use {threads}."
        )
    bindings._unsafe_reset_threadpool(threads)
    if count() != threads:
        raise SessionError(f"ExecuTorch uses {count()} threads instead of {threads}.")
