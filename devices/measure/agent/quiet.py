"""Disables telemetry of runtimes. Does not import NumPy, to keep the command line fast."""

from __future__ import annotations

import os
import sys


def disable_telemetry() -> None:
    """Disable telemetry of runtimes; call it before importing one.

    ONNX Runtime starts a telemetry thread and OpenVINO a process on import: both would disturb
    measurements, and send data without the user's consent.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # OpenVINO has no switch per process, but runs without this package.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
