"""OpenVINO on this machine's processor, or on its Intel GPU or NPU by name."""

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

from devices.agent.processor import saturates
from devices.backends.base import MODEL, Backend, Built, Session
from devices.device import CPU, Device, DeviceError
from devices.quantization import WeightBits

_NPU = "NPU"


class OpenVino(Backend):
    """Run OpenVINO's own format (IR: .xml and .bin), built from ONNX.

    On GPU and NPU it is UNVERIFIED: none was there when this was written.

    Args:
        unit: OpenVINO's name of what models are opened on: exactly that, and nothing in its place.
    """

    name = "openvino"
    runtime = "OpenVINO"
    package = "openvino"
    install_hint = "pip install openvino"
    activations = "uint8"
    native_precisions = ("float32", "int8")

    def __init__(self, unit: str = CPU) -> None:
        self.unit = unit

    def on(self, unit: str) -> Backend:
        """OpenVINO on a unit of this machine, whether it is there or not."""
        return OpenVino(unit)

    def why_not_run(self, device: Device) -> str:
        """Why this machine cannot run it: no OpenVINO, or no such unit."""
        return super().why_not_run(device) or why_absent(device.openvino_device)

    def check(self, device: Device) -> None:
        """Also refuse what an NPU has no arithmetic for."""
        super().check(device)
        if device.openvino_device == _NPU and device.precision != "int8":
            raise DeviceError(
                "openvino_device: an NPU has no float32 arithmetic, so nobody could hold its "
                "answers against the network's. Set precision: int8, or another openvino_device."
            )

    def weight_bits(self, machine: Mapping[str, Any] | None) -> WeightBits:
        """7 on an x86 processor without VNNI: oneDNN's kernels saturate there, with no way out.

        A processor of which nothing is known may be such a one. GPU and NPU take 8.
        """
        if self.unit != CPU:
            return 8
        if machine is None or machine.get("system") is None:
            return 7
        return 7 if saturates(machine["system"], machine.get("features")) else 8

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Deliver IR whose bytes depend on the ONNX file and the runtime's version alone."""
        import openvino

        details = self.start_build(onnx_model, precision, device)
        model = _convert(onnx_model)
        layers = _name_layers(model)
        entry, weights = f"{MODEL}.xml", f"{MODEL}.bin"
        with tempfile.TemporaryDirectory(dir=folder) as name:
            # compress_to_fp16 is on by default and would change what was validated as float32.
            openvino.save_model(model, Path(name) / entry, compress_to_fp16=False)
            if not self.why_not_run(device):
                self.on(device.openvino_device).open(Path(name) / entry, device.threads).close()
            for file in (entry, weights):
                (Path(name) / file).replace(folder / file)
        details["layers"] = layers
        details["openvino_device"] = device.openvino_device
        details["rebuild"] = "portable: any OpenVINO of this version or newer loads the files"
        return Built((entry, weights), entry, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Compile IR or an ONNX file for the unit, in float32 where it is not int8.

        An NPU computes in float16 what is not int8. Threads are the processor's alone.
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
    """What a unit is told, in OpenVINO's words."""
    # The defaults, bfloat16 on recent processors and float16 on GPUs, are not what was validated.
    if unit == CPU:
        return {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
    config = {"PERFORMANCE_HINT": "LATENCY"}
    return config if unit == _NPU else config | {"INFERENCE_PRECISION_HINT": "f32"}


def why_absent(unit: str) -> str:
    """Why OpenVINO cannot use a unit of this machine, with its plugin's own words; empty if it can.

    The processor is always there.
    """
    if unit == CPU:
        return ""
    found = [str(name) for name in _core().available_devices]
    # With one GPU, OpenVINO lists it as `GPU`, which is `GPU.0`; with several, by their numbers.
    if unit in found or any(name.startswith(f"{unit}.") for name in found):
        return ""
    if unit == "GPU.0" and "GPU" in found:
        return ""
    said = f"OpenVINO finds no {unit} on this machine; it finds {', '.join(found) or 'nothing'}."
    try:
        _core().get_property(unit.partition(".")[0], "AVAILABLE_DEVICES")
    except RuntimeError as error:
        return f"{said} Its plugin says: {_first(error)}"
    return f"{said} Is its driver installed?"


def _check_compiled(compiled: Any, unit: str) -> None:
    """Refuse a model that OpenVINO compiled for something else, or in another arithmetic.

    Raises:
        DeviceError: it did.
    """
    where = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
    kind = unit.partition(".")[0]
    if not where or any(name.partition(".")[0] != kind for name in where):
        raise DeviceError(
            f"OpenVINO runs on {', '.join(where) or 'nothing'}, though {unit} was asked for."
        )
    if kind == _NPU:
        return
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if precision != "f32":
        raise DeviceError(f"OpenVINO computes in {precision} here, though f32 was asked for.")


class _OpenVinoSession(Session):
    def __init__(self, compiled: Any) -> None:
        self._shape = tuple(compiled.input(0).shape)
        self._request = compiled.create_infer_request()
        # Writing into the request's own tensors costs less than passing arrays to each call.
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
    """ONNX to OpenVINO's model, simplified, without traces of where the file lay."""
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
    """OpenVINO's entry point; making one loads its plugins, which takes a while."""
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

    OpenVINO numbers unnamed layers by a counter of the whole process, so the same model would
    get different bytes from one conversion to the next.
    """
    kinds: Counter[str] = Counter()
    for number, layer in enumerate(model.get_ordered_ops()):
        kind = str(layer.get_type_name())
        if kind == "Constant" or re.fullmatch(r"[A-Za-z]+_\d+", layer.get_friendly_name()):
            layer.set_friendly_name(f"{kind}.{number}")
        kinds[kind] += 1
    return dict(sorted(kinds.items()))


def _first(error: RuntimeError) -> str:
    """The line of OpenVINO's message that says what is wrong, without its source locations."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return (said or lines or ["no message"])[0]
