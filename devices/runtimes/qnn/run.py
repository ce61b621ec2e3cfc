"""Run a bundle's file on a Hexagon DSP. Axes: N images (always 1), C, H, W, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Runtime:
    """QNN in ONNX Runtime on a Qualcomm Hexagon DSP; emulated on x86-64.

    UNVERIFIED on a DSP: only tested in emulation.
    """

    def __init__(self, file: Path, threads: int, model: dict[str, Any]) -> None:
        import onnxruntime
        import onnxruntime_qnn
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        provider = onnxruntime_qnn.get_ep_name()
        if provider not in {d.ep_name for d in onnxruntime.get_ep_devices()}:
            library = onnxruntime_qnn.get_library_path()
            onnxruntime.register_execution_provider_library(provider, library)
        found = [d for d in onnxruntime.get_ep_devices() if d.ep_name == provider]
        npus = [d for d in found if d.device.type == onnxruntime.OrtHardwareDeviceType.NPU]
        self.options = onnxruntime.SessionOptions()
        self.options.log_severity_level = 3
        self.options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self.options.add_provider_for_devices(
            (npus or found)[:1], {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
        )
        self.refusals = state.Fail, state.EPFail, state.InvalidGraph, state.RuntimeException
        # The emulator loads any binary; a DSP loads those of its generation and older.
        names = [file.name] if not npus else [*reversed(model["details"]["entries"].values())]
        self.session = self._newest(onnxruntime, [file.with_name(name) for name in names])
        self.name = self.session.get_inputs()[0].name
        self.runtime = f"QNN {onnxruntime_qnn.__version__}{'' if npus else ', emulated'}"

    def __call__(self, images_1CHW: Float32) -> Any:
        """Logits (1, K)."""
        return self.session.run(None, {self.name: images_1CHW})[0]

    def _newest(self, onnxruntime: Any, files: list[Path]) -> Any:
        """Load the newest generation's binary that this DSP supports."""
        errors = []
        for file in files:
            try:
                return onnxruntime.InferenceSession(str(file), self.options)
            except self.refusals as error:
                errors.append(f"{file.name}: {error}")
        raise ValueError(f"no context binary is compatible with this DSP ({'; '.join(errors)})")
