"""OpenVINO on the CPU, or on a named Intel GPU or NPU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.device import CPU, Device, DeviceError, WeightBits
from devices.runtimes.base import MODEL, Backend, Built, staged
from devices.runtimes.openvino.session import OpenVinoSession, reason_of, why_absent
from devices.runtimes.processor import saturates

_NPU = "NPU"


class OpenVino(Backend):
    """Run OpenVINO's own format (IR: .xml and .bin), built from ONNX, on a unit without a fallback.

    GPU and NPU are UNVERIFIED (no hardware available).
    """

    name = "openvino"
    session = OpenVinoSession
    suffix = ".xml"
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

    def check_hardware(self, device: Device) -> None:
        """Refuse precisions that an NPU does not support."""
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
        entry, weights = f"{MODEL}{self.suffix}", f"{MODEL}.bin"
        with staged(folder) as work:
            # compress_to_fp16 is on by default and would change the validated float32 weights.
            openvino.save_model(model, work / entry, compress_to_fp16=False)
            if not self.why_not_run(device):
                self.for_unit(device.openvino_device).open(work / entry, device.threads).close()
        details |= {
            "layers": layers,
            "openvino_device": device.openvino_device,
            "rebuild": "portable: any OpenVINO of this version or newer loads the files",
        }
        return Built((entry, weights), entry, details)


def _convert(onnx_model: Path) -> Any:
    """Convert ONNX to an OpenVINO model without the path of the file, for reproducibility."""
    import openvino

    try:
        model = openvino.convert_model(onnx_model)
    except RuntimeError as error:
        raise DeviceError(f"OpenVINO cannot convert {onnx_model}: {reason_of(error)}") from error
    if model.has_rt_info("conversion_parameters"):
        del model.rt_info["conversion_parameters"]
    return model


def _name_layers(model: Any) -> dict[str, int]:
    """Give unnamed layers stable names, and count all layers by type.

    OpenVINO numbers unnamed layers by a global counter, so repeated conversions would differ.
    """
    layers = model.get_ordered_ops()
    kinds = [str(layer.get_type_name()) for layer in layers]
    for number, (kind, layer) in enumerate(zip(kinds, layers, strict=True)):
        if kind == "Constant" or re.fullmatch(r"[A-Za-z]+_\d+", layer.get_friendly_name()):
            layer.set_friendly_name(f"{kind}.{number}")
    return dict(sorted(Counter(kinds).items()))
