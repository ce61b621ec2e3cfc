"""ExecuTorch with XNNPACK: PyTorch's runtime for mobile CPUs."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Backend, Built, Session, require_activations
from devices.runtimes.logs import suppress_warnings

_DELEGATED = "executorch_call_delegate"
_SILENT = ("getitem", "alloc")


class ExecuTorch(Backend):
    """Run `.pte` programs, lowered from ONNX via PyTorch and partially delegated to XNNPACK."""

    name = "executorch"
    runtime = "ExecuTorch"
    package = "executorch"
    install_hint = "pip install -c constraints.txt -e '.[executorch]'"
    activations = "int8_asymmetric"
    opens_onnx = False
    native_precisions = ("float32", "int8")

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build a program; reproducible for the same ONNX file and versions."""
        details = self.start_build(onnx_model, precision, device)
        if precision == "int8":
            require_activations(onnx_model, self.activations)
        program, portable = _lower(onnx_model)
        entry = f"{MODEL}.pte"
        _try(program, onnx_model.name, details["inputs"][0]["shape"])
        (folder / entry).write_bytes(program)
        details |= {
            "delegate": "XNNPACK",
            "portable_kernels": portable,
            "rebuild": "portable: any ExecuTorch of this version or newer with XNNPACK loads it",
        }
        return Built((entry,), entry, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Load a program, or lower and load an ONNX file, which takes seconds."""
        if not entry.is_file():
            raise DeviceError(f"{entry}: no such file.")
        program = entry.read_bytes()
        if entry.suffix == ".onnx":
            program, _ = _lower(entry)
        _use_threads(threads)
        session = _ExecuTorchSession(_load(program, entry.name), program)
        _SESSIONS.add(session)
        return session


class _ExecuTorchSession(Session):
    def __init__(self, module: Any, program: bytes) -> None:
        self._module = module
        self._program = program  # keeps the buffer alive for the module

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self._module.method_meta("forward").input_tensor_meta(0).sizes())

    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        import torch

        # PyTorch warns about read-only arrays: copy only those.
        images = torch.from_numpy(np.require(images_1CHW, requirements="W"))
        outputs = self._module.forward([images])
        logits_1K: npt.NDArray[np.float32] = outputs[0].numpy().copy()
        return logits_1K

    def close(self) -> None:
        del self._module, self._program
        _SESSIONS.discard(self)


_SESSIONS: weakref.WeakSet[_ExecuTorchSession] = weakref.WeakSet()
"""Open sessions, which use the thread pool of the process."""


def _use_threads(threads: int) -> None:
    """Set the size of the thread pool, of which a process has one.

    Raises:
        DeviceError: open sessions use another size.
    """
    from executorch.extension.pybindings import portable_lib

    count = portable_lib._threadpool_get_thread_count
    if count() == threads:
        return
    if len(_SESSIONS) > 0:
        raise DeviceError(
            f"ExecuTorch has one thread pool per process: open sessions use {count()} threads, "
            f"so none can use {threads}."
        )
    portable_lib._unsafe_reset_threadpool(threads)
    if count() != threads:
        raise DeviceError(f"ExecuTorch uses {count()} threads instead of {threads}.")


def _load(program: bytes, name: str) -> Any:
    from executorch.extension.pybindings import portable_lib

    try:
        module = portable_lib._load_for_executorch_from_buffer(program)
        module.method_meta("forward")
    except RuntimeError as error:
        raise DeviceError(f"ExecuTorch cannot load {name}: {error}") from error
    return module


def _try(program: bytes, name: str, shape: list[int]) -> None:
    """Run a program once, because XNNPACK validates its graph only then.

    Raises:
        DeviceError: it cannot be run.
    """
    import torch

    try:
        _load(program, name).forward([torch.zeros(shape)])
    except RuntimeError as error:
        raise DeviceError(f"ExecuTorch cannot run {name}: {error}") from error


def _lower(onnx_model: Path) -> tuple[bytes, dict[str, int]]:
    """Lower to a program; also counts the layers left to the slower portable kernels."""
    with suppress_warnings():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from devices.runtimes.onnx_torch import export

        edge = to_edge_transform_and_lower(export(onnx_model), partitioner=[XnnpackPartitioner()])
        program = bytes(edge.to_executorch().buffer)
    calls = [n for n in edge.exported_program().graph.nodes if n.op == "call_function"]
    names = Counter(getattr(call.target, "__name__", str(call.target)) for call in calls)
    if not names[_DELEGATED]:
        raise DeviceError(f"XNNPACK supports no layer of {onnx_model.name}.")
    return program, {k: v for k, v in sorted(names.items()) if k not in (_DELEGATED, *_SILENT)}
