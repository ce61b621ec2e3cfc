"""Keeping runtimes quiet; without NumPy, which the command line does not always need."""

from __future__ import annotations

import os
import sys


def quiet() -> None:
    """Keep runtimes from reporting to their makers; call it before one is imported.

    ONNX Runtime starts a thread for it, and OpenVINO a whole process when it is imported: both
    would run beside what is measured, and send data without the owner's consent.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # OpenVINO has no switch for one process, but does without this package where it is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
