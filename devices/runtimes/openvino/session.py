"""Models in OpenVINO. Axes: C channels, H height, W width, K classes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from devices.runtimes.session import Session, SessionError


class OpenVinoSession(Session):
    """An IR or ONNX file; layers that are not int8 run in float32, on an NPU in float16.

    `threads` only applies to the CPU. GPU and NPU are UNVERIFIED (no hardware available).
    """

    runtime, package = "OpenVINO", "openvino"
    units = ("CPU", "GPU", "NPU")

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        if reason := why_absent(unit):
            raise SessionError(f"{file.name} cannot be run here. {reason}")
        try:
            model = core().read_model(file)
            # The exact name: fails if the unit is missing, without a fallback.
            compiled = core().compile_model(model, unit, config_of(unit, threads))
        except RuntimeError as error:
            raise SessionError(f"OpenVINO cannot load {file.name}: {reason_of(error)}") from error
        _check_compiled(compiled, unit)
        self.where = "" if unit == "CPU" else f" on {unit}"
        self.input_shape = tuple(compiled.input(0).shape)
        self._request = compiled.create_infer_request()
        # Writing into the request's tensors is faster than passing arrays to each call.
        self._images_1CHW = self._request.get_input_tensor().data
        self._logits_1K = self._request.get_output_tensor().data

    def __call__(self, images_1CHW: Any) -> Any:
        """Logits (1, K) of one image."""
        self._images_1CHW[:] = images_1CHW
        self._request.infer(share_outputs=True)
        return self._logits_1K.copy()


@cache
def core() -> Any:
    """The OpenVINO core; cached, because loading its plugins is slow."""
    import openvino

    return openvino.Core()


def config_of(unit: str, threads: int) -> dict[str, Any]:
    """OpenVINO properties for a unit."""
    # The defaults, bfloat16 on recent CPUs and float16 on GPUs, were not validated.
    if unit == "CPU":
        return {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
    config = {"PERFORMANCE_HINT": "LATENCY"}
    return config if unit == "NPU" else {**config, "INFERENCE_PRECISION_HINT": "f32"}


def why_absent(unit: str) -> str:
    """Why OpenVINO cannot use a unit of this machine, with its plugin's message; else empty."""
    if unit == "CPU":
        return ""
    found = [str(name) for name in core().available_devices]
    # OpenVINO lists a single GPU as `GPU`, an alias of `GPU.0`, and several by number.
    if unit in found or any(name.startswith(f"{unit}.") for name in found):
        return ""
    if unit == "GPU.0" and "GPU" in found:
        return ""
    problem = f"OpenVINO finds no {unit} on this machine; it finds {', '.join(found) or 'nothing'}."
    try:
        core().get_property(unit.partition(".")[0], "AVAILABLE_DEVICES")
    except RuntimeError as error:
        return f"{problem} Its plugin says: {reason_of(error)}"
    return f"{problem} Is its driver installed?"


def _check_compiled(compiled: Any, unit: str) -> None:
    """Check the unit and the arithmetic of a compiled model.

    Raises:
        SessionError: they are not the requested ones.
    """
    where = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
    kind = unit.partition(".")[0]
    if not where or any(name.partition(".")[0] != kind for name in where):
        raise SessionError(f"OpenVINO runs on {', '.join(where) or 'nothing'} instead of {unit}.")
    if kind == "NPU":
        return
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if precision != "f32":
        raise SessionError(f"OpenVINO computes in {precision} instead of f32.")


def reason_of(error: RuntimeError) -> str:
    """The first line of OpenVINO's message that is not a source location."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return (reasons or lines or ["no message"])[0]
