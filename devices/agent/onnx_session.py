"""The one place where ONNX Runtime sessions are set up: backend, agent, teachers and `run.py`.

Imports the standard library and ONNX Runtime alone: the agent is packed with this file, and a
bundle's `run.py` holds its text.
"""

from __future__ import annotations

from typing import Any

from .processor import saturates

PRECISE_INT8 = "session.x64quantprecision"
"""With "1" ONNX Runtime turns signed weights into unsigned ones, whose kernels are exact."""
ONLY_ERRORS = 3


def session_options(threads: int, fused: bool = True) -> Any:
    """Options of a session that uses so many threads, and none while it is idle.

    Without VNNI, ONNX Runtime's fused kernels for unsigned activations and signed weights sum in
    16 bits, which saturates: another network answers. The exact kernels are slower, and ONNX
    Runtime would take them on processors with VNNI too, so they are asked for by processor.

    Args:
        threads: of the session.
        fused: False keeps Q/DQ pairs apart: floats, rounded where the file says. That is the
            reference with which every runtime's int8 is compared.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ONLY_ERRORS
    # Idle sessions would otherwise spin and disturb whatever else is measured.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(PRECISE_INT8, "1" if saturates() else "0")
    if not fused:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def open_session(file: str, threads: int, fused: bool = True) -> Any:
    """An `InferenceSession` on the processor; see `session_options`."""
    import onnxruntime

    return onnxruntime.InferenceSession(
        file, session_options(threads, fused), providers=["CPUExecutionProvider"]
    )
