"""ExecuTorch with XNNPACK: PyTorch's runtime for mobile CPUs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Backend, Built, device_errors, staged
from devices.runtimes.executorch.session import ExecuTorchSession
from devices.runtimes.logs import suppress_warnings
from devices.runtimes.onnx_file import require_activations

_DELEGATED = "executorch_call_delegate"
_SILENT = ("getitem", "alloc")


class ExecuTorch(Backend):
    """Run `.pte` programs, lowered from ONNX via PyTorch and partially delegated to XNNPACK."""

    name = "executorch"
    session = ExecuTorchSession
    suffix = ".pte"
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
        entry = f"{MODEL}{self.suffix}"
        with staged(folder) as work:
            (work / entry).write_bytes(program)
            with device_errors(), self.open(work / entry, device.threads) as session:
                # XNNPACK validates its graph only when it runs.
                session(np.zeros(session.input_shape, np.float32))
        details |= {
            "delegate": "XNNPACK",
            "portable_kernels": portable,
            "rebuild": "portable: any ExecuTorch of this version or newer with XNNPACK loads it",
        }
        return Built((entry,), entry, details)

    def convert(self, onnx_model: Path) -> bytes:
        """Lower an ONNX file to a program."""
        return _lower(onnx_model)[0]


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
