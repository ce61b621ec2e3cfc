"""OpenVINO on this machine's processor."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.backends.base import MODEL, Backend, Built, Session
from devices.device import Device, DeviceError


class OpenVino(Backend):
    """Run OpenVINO's own format (IR: .xml and .bin), built from ONNX."""

    name = "openvino"
    runtime = "OpenVINO"
    package = "openvino"
    install_hint = "pip install openvino"
    activations = "uint8"
    native_precisions = ("float32", "int8")

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
            self.open(Path(name) / entry, device.threads).close()
            for file in (entry, weights):
                (Path(name) / file).replace(folder / file)
        details["layers"] = layers
        details["rebuild"] = "portable: any OpenVINO of this version or newer loads the files"
        return Built((entry, weights), entry, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Compile IR or an ONNX file for the processor, in float32 where it is not int8."""
        config = {
            # The default on recent processors is bfloat16, which is not what was validated.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        try:
            compiled = _core().compile_model(_read(entry), "CPU", config)
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO cannot compile {entry}: {_first(error)}") from error
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if precision != "f32":
            raise DeviceError(f"OpenVINO computes in {precision} here, though f32 was asked for.")
        return _OpenVinoSession(compiled)


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
