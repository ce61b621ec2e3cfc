"""ONNX Runtime sessions of the backend, the agent, teachers and a bundle's `run.py`.

Imports only the standard library and ONNX Runtime: this file is part of the packed agent, and its
text is part of `run.py`.
"""

from __future__ import annotations

from typing import Any

from .processor import saturates

PRECISE_INT8 = "session.x64quantprecision"
"""With "1" ONNX Runtime converts signed weights to unsigned, for which kernels are exact."""
ONLY_ERRORS = 3


def session_options(threads: int, fused: bool = True) -> Any:
    """Build session options, without spinning of idle threads.

    Without VNNI, ONNX Runtime's fused kernels for unsigned activations and signed weights sum in
    16 bits and may saturate, which gives wrong results. The exact kernels are slower, and ONNX
    Runtime would use them with VNNI too, so they are enabled by processor.

    Args:
        threads: number of threads.
        fused: False does not fuse Q/DQ pairs: float arithmetic, rounded as in the file. This is
            the reference for the int8 outputs of every runtime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ONLY_ERRORS
    # Spinning threads of idle sessions would disturb other measurements.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(PRECISE_INT8, "1" if saturates() else "0")
    if not fused:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def open_session(file: str, threads: int, fused: bool = True) -> Any:
    """Open an `InferenceSession` on the CPU; see `session_options`."""
    import onnxruntime

    return onnxruntime.InferenceSession(
        file, session_options(threads, fused), providers=["CPUExecutionProvider"]
    )
