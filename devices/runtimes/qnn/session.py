"""Models in QNN, an execution provider of ONNX Runtime for Hexagon DSPs."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from devices.runtimes.onnxruntime.session import OnnxRuntimeSession, open_onnx, session_options
from devices.runtimes.session import SessionError

EMULATES = "x86_64"
_PROVIDER = "QNNExecutionProvider"
_WRAPPER = re.compile(r"(?P<stem>.+)_v(?P<generation>[0-9]+)\.onnx")


class QnnSession(OnnxRuntimeSession):
    """A context binary by its ONNX wrapper `NAME_vGENERATION.onnx`, or an ONNX file.

    A DSP loads binaries of its generation and older: the newest one beside the file that loads.
    The emulator, on x86-64, loads any. UNVERIFIED on a DSP (no hardware available).
    """

    runtime, package = "QNN", "onnxruntime_qnn"
    agent_needs = "a session on the DSP itself, as the emulator's latency is not that of the DSP"

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        if not npus():
            self.where = ", emulated"
            self._use(open_on_dsp(file, threads))
            return
        errors = []
        for candidate in _generations(file):
            try:
                self._use(open_on_dsp(candidate, threads))
                return
            except SessionError as error:
                errors.append(str(error))
        raise SessionError(f"no file runs on this DSP ({'; '.join(errors)})")


def open_on_dsp(
    file: Path,
    threads: int,
    provider: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
) -> Any:
    """Open an `InferenceSession` on the DSP or its emulator, without a fallback to the CPU.

    Args:
        file: an ONNX file, or the wrapper of a context binary.
        threads: number of threads.
        provider: options of the provider.
        config: entries of the session's configuration.

    Raises:
        SessionError: QNN cannot load the file.
    """
    import onnxruntime_qnn

    options = session_options(threads)
    # An unsupported layer is an error.
    for key, value in {"session.disable_cpu_ep_fallback": "1", **(config or {})}.items():
        options.add_session_config_entry(key, value)
    settings = {"backend_path": onnxruntime_qnn.get_qnn_htp_path(), **(provider or {})}
    options.add_provider_for_devices((npus() or _devices())[:1], settings)
    try:
        return open_onnx(file, options, providers=None)
    except SessionError as error:
        raise SessionError(f"QNN cannot load {file.name}: {error}") from error


@cache
def _devices() -> list[Any]:
    """Devices of the provider; cached, because registering it loads its libraries."""
    import onnxruntime
    import onnxruntime_qnn

    if _PROVIDER not in {device.ep_name for device in onnxruntime.get_ep_devices()}:
        library = onnxruntime_qnn.get_library_path()
        onnxruntime.register_execution_provider_library(_PROVIDER, library)
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER]


def npus() -> list[Any]:
    """Hexagon DSPs of this machine; none on x86-64, without loading the provider."""
    if platform.machine() == EMULATES:
        return []
    import onnxruntime

    npu = onnxruntime.OrtHardwareDeviceType.NPU
    return [device for device in _devices() if device.device.type == npu]


def _generations(file: Path) -> list[Path]:
    """The wrappers beside a wrapper, of the newest generation first; else the file itself."""
    found = _WRAPPER.fullmatch(file.name)
    if found is None:
        return [file]
    matches = [_WRAPPER.fullmatch(path.name) for path in file.parent.iterdir()]
    same = [match for match in matches if match and match["stem"] == found["stem"]]
    same.sort(key=lambda match: int(match["generation"]), reverse=True)
    return [file.with_name(match[0]) for match in same]
