"""ExecuTorch with XNNPACK: PyTorch's runtime for mobile CPUs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from devices.device import DeviceError
from devices.runtimes.base import ConvertingBackend, suppress_warnings
from devices.runtimes.executorch.session import ExecuTorchSession

_DELEGATED = "executorch_call_delegate"
_SILENT = ("getitem", "alloc")


class ExecuTorch(ConvertingBackend):
    """Run `.pte` programs, lowered from ONNX via PyTorch and partially delegated to XNNPACK."""

    name = "executorch"
    session = ExecuTorchSession
    suffix = ".pte"
    install_hint = "pip install -c constraints.txt -e '.[executorch]'"
    activations = "int8_asymmetric"
    native_precisions = ("float32", "int8")

    def convert(self, onnx_model: Path, precision: str) -> tuple[bytes, dict[str, Any]]:
        """Lower to a program; `portable_kernels` counts the layers left to slower kernels."""
        with suppress_warnings():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            from devices.runtimes.onnx_torch import export

            partitioner = [XnnpackPartitioner()]
            edge = to_edge_transform_and_lower(export(onnx_model), partitioner=partitioner)
            program = bytes(edge.to_executorch().buffer)
        calls = [n for n in edge.exported_program().graph.nodes if n.op == "call_function"]
        names = Counter(getattr(call.target, "__name__", str(call.target)) for call in calls)
        if not names[_DELEGATED]:
            raise DeviceError(f"XNNPACK supports no layer of {onnx_model.name}.")
        portable = sorted(names.keys() - {_DELEGATED, *_SILENT})
        return program, {
            "delegate": "XNNPACK",
            "portable_kernels": {name: names[name] for name in portable},
            "rebuild": "portable: any ExecuTorch of this version or newer with XNNPACK loads it",
        }
