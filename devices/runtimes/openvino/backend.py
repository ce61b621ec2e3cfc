"""OpenVINO on the CPU, or on a named Intel GPU or NPU."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import CPU, Device, DeviceError, WeightBits
from devices.measure.agent.processor import saturates
from devices.runtimes.base import MODEL, Backend, Built, Session

_NPU = "NPU"


class OpenVino(Backend):
    """Run OpenVINO's own format (IR: .xml and .bin), built from ONNX.

    GPU and NPU are UNVERIFIED (no hardware available).

    Args:
        unit: OpenVINO device on which models are opened, without a fallback.
    """

    name = "openvino"
    runtime = "OpenVINO"
    package = "openvino"
    install_hint = "pip install openvino"
    activations = "uint8"
    native_precisions = ("float32", "int8")

    def __init__(self, unit: str = CPU) -> None:
        self.unit = unit

    def for_unit(self, unit: str) -> Backend:
        """OpenVINO on a unit, which may be missing on this machine."""
        return OpenVino(unit)

    def why_not_run(self, device: Device) -> str:
        """Also checks that the unit exists."""
        return super().why_not_run(device) or why_absent(device.openvino_device)

    def check(self, device: Device) -> None:
        """Also refuse precisions that an NPU does not support."""
        super().check(device)
        if device.openvino_device == _NPU and device.precision != "int8":
            raise DeviceError(
                "openvino_device: an NPU has no float32 arithmetic, so its outputs cannot be "
                "compared with the network's. Set precision: int8, or another openvino_device."
            )

    def weight_bits(self, machine: Mapping[str, Any] | None) -> WeightBits:
        """7 on x86 CPUs without VNNI, where oneDNN's int8 kernels saturate, or if not known."""
        if self.unit != CPU:
            return 8
        if machine is None or machine.get("system") is None:
            return 7
        return 7 if saturates(machine["system"], machine.get("features")) else 8

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build IR; reproducible for the same ONNX file and runtime version."""
        import openvino

        details = self.start_build(onnx_model, precision, device)
        model = _convert(onnx_model)
        layers = _name_layers(model)
        entry, weights = f"{MODEL}.xml", f"{MODEL}.bin"
        with tempfile.TemporaryDirectory(dir=folder) as name:
            # compress_to_fp16 is on by default and would change the validated float32 weights.
            openvino.save_model(model, Path(name) / entry, compress_to_fp16=False)
            if not self.why_not_run(device):
                self.for_unit(device.openvino_device).open(
                    Path(name) / entry, device.threads
                ).close()
            for file in (entry, weights):
                (Path(name) / file).replace(folder / file)
        details["layers"] = layers
        details["openvino_device"] = device.openvino_device
        details["rebuild"] = "portable: any OpenVINO of this version or newer loads the files"
        return Built((entry, weights), entry, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Compile IR or an ONNX file for the unit; layers that are not int8 run in float32.

        On an NPU they run in float16. `threads` only applies to the CPU.
        """
        model, away = _read(entry), why_absent(self.unit)
        if away:
            raise DeviceError(f"{entry.name} cannot be run here. {away}")
        try:
            compiled = _core().compile_model(model, self.unit, config_of(self.unit, threads))
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO cannot compile {entry}: {_first(error)}") from error
        _check_compiled(compiled, self.unit)
        return _OpenVinoSession(compiled)


def config_of(unit: str, threads: int) -> dict[str, Any]:
    """OpenVINO properties for a unit."""
    # The defaults, bfloat16 on recent CPUs and float16 on GPUs, were not validated.
    if unit == CPU:
        return {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
    config = {"PERFORMANCE_HINT": "LATENCY"}
    return config if unit == _NPU else config | {"INFERENCE_PRECISION_HINT": "f32"}


def why_absent(unit: str) -> str:
    """Why OpenVINO cannot use a unit of this machine, with its plugin's message; else empty."""
    if unit == CPU:
        return ""
    found = [str(name) for name in _core().available_devices]
    # OpenVINO lists a single GPU as `GPU`, an alias of `GPU.0`, and several by number.
    if unit in found or any(name.startswith(f"{unit}.") for name in found):
        return ""
    if unit == "GPU.0" and "GPU" in found:
        return ""
    problem = f"OpenVINO finds no {unit} on this machine; it finds {', '.join(found) or 'nothing'}."
    try:
        _core().get_property(unit.partition(".")[0], "AVAILABLE_DEVICES")
    except RuntimeError as error:
        return f"{problem} Its plugin says: {_first(error)}"
    return f"{problem} Is its driver installed?"


def _check_compiled(compiled: Any, unit: str) -> None:
    """Check the unit and the arithmetic of a compiled model.

    Raises:
        DeviceError: they are not the requested ones.
    """
    where = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
    kind = unit.partition(".")[0]
    if not where or any(name.partition(".")[0] != kind for name in where):
        raise DeviceError(f"OpenVINO runs on {', '.join(where) or 'nothing'} instead of {unit}.")
    if kind == _NPU:
        return
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if precision != "f32":
        raise DeviceError(f"OpenVINO computes in {precision} instead of f32.")


class _OpenVinoSession(Session):
    def __init__(self, compiled: Any) -> None:
        self._shape = tuple(compiled.input(0).shape)
        self._request = compiled.create_infer_request()
        # Writing into the request's tensors is faster than passing arrays to each call.
        self._images_1CHW = self._request.get_input_tensor().data
        self._logits_1K = self._request.get_output_tensor().data

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self._images_1CHW[:] = images_1CHW
        self._request.infer(share_outputs=True)
        logits_1K: npt.NDArray[np.float32] = self._logits_1K.copy()
        return logits_1K

    def close(self) -> None:
        del self._images_1CHW, self._logits_1K, self._request


def _convert(onnx_model: Path) -> Any:
    """Convert ONNX to an OpenVINO model without the path of the file, for reproducibility."""
    import openvino

    try:
        model = openvino.convert_model(onnx_model)
    except RuntimeError as error:
        raise DeviceError(f"OpenVINO cannot convert {onnx_model}: {_first(error)}") from error
    if model.has_rt_info("conversion_parameters"):
        del model.rt_info["conversion_parameters"]
    return model


@cache
def _core() -> Any:
    """The OpenVINO core; cached, because loading its plugins is slow."""
    import openvino

    return openvino.Core()


def _read(file: Path) -> Any:
    if not file.is_file():
        raise DeviceError(f"{file}: no such file.")
    try:
        return _core().read_model(file)
    except RuntimeError as error:
        raise DeviceError(f"OpenVINO cannot read {file}: {_first(error)}") from error


def _name_layers(model: Any) -> dict[str, int]:
    """Give unnamed layers stable names, and count all layers by type.

    OpenVINO numbers unnamed layers by a global counter, so repeated conversions would differ.
    """
    kinds: Counter[str] = Counter()
    for number, layer in enumerate(model.get_ordered_ops()):
        kind = str(layer.get_type_name())
        if kind == "Constant" or re.fullmatch(r"[A-Za-z]+_\d+", layer.get_friendly_name()):
            layer.set_friendly_name(f"{kind}.{number}")
        kinds[kind] += 1
    return dict(sorted(kinds.items()))


def _first(error: RuntimeError) -> str:
    """The first line of OpenVINO's message that is not a source location."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return (reasons or lines or ["no message"])[0]
