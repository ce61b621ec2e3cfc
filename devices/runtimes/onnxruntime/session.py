"""Models in ONNX Runtime. Axes: N images, C channels, H height, W width, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devices.runtimes.processor import saturates
from devices.runtimes.session import Session, SessionError

PRECISE_INT8 = "session.x64quantprecision"
"""With "1" ONNX Runtime converts signed weights to unsigned, for which kernels are exact."""
ONLY_ERRORS = 3


class OnnxRuntimeSession(Session):
    """An ONNX file with one input and one output, on the CPU.

    Args:
        file: the model.
        threads: number of threads.
        unit: always the CPU.
        fused: see `session_options`.

    Attributes:
        inputs: ONNX Runtime's descriptions of the inputs.
        outputs: likewise.
    """

    runtime, package = "ONNX Runtime", "onnxruntime"

    def __init__(self, file: Path, threads: int, unit: str = "CPU", fused: bool = True) -> None:
        self._use(open_onnx(file, session_options(threads, fused)))

    def _use(self, session: Any) -> None:
        self._session, self._refusals = session, refusals()
        self.inputs, self.outputs = session.get_inputs(), session.get_outputs()
        self.input_shape = tuple(self.inputs[0].shape)
        self._input, self._output = self.inputs[0].name, [self.outputs[0].name]

    def __call__(self, images_1CHW: Any) -> Any:
        """Run one image, or N if the file has a dynamic batch axis; returns logits (N, K)."""
        try:
            return self._session.run(self._output, {self._input: images_1CHW})[0]
        except self._refusals as error:
            raise SessionError(f"{self.runtime} cannot run the model: {error}") from error


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


def open_onnx(file: Path, options: Any, providers: Any = ("CPUExecutionProvider",)) -> Any:
    """Open an `InferenceSession`.

    Args:
        file: the model.
        options: see `session_options`.
        providers: by name; None if the options have devices.

    Raises:
        SessionError: ONNX Runtime cannot load the file.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(file), options, providers)
    except refusals() as error:
        raise SessionError(f"ONNX Runtime cannot load {file}: {error}") from error


def refusals() -> tuple[type[Exception], ...]:
    """Exceptions of ONNX Runtime for a file or an input that it cannot run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
