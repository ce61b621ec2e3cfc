"""Qualcomm Hexagon DSPs by QNN, as an execution provider of ONNX Runtime.

A DSP loads a context binary of its generation ("v73"), compiled ahead of time on an x86-64
machine. There the package also emulates the DSP, which gives its outputs but not its latency.
Running on a DSP follows the documented API and is UNVERIFIED (no hardware available).
"""

from __future__ import annotations

import platform
from pathlib import Path

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Backend, Built, Capabilities, device_errors, staged
from devices.runtimes.onnx_file import describe, load_onnx, require_activations
from devices.runtimes.qnn.session import EMULATES, QnnSession, npus, open_on_dsp
from devices.runtimes.session import Session

ARCHITECTURES = ("v68", "v73", "v75", "v81")
"""Supported DSP generations, oldest first."""
_OLDEST = "v68"
_NO_FLOAT16 = (
    f"dsp_architectures: {_OLDEST} has no float16 arithmetic. Set precision: int8, or leave it out "
    "of the list."
)


class Qnn(Backend):
    """Build a context binary per DSP generation; run them in the emulator.

    ONNX Runtime loads a binary `model_v73_qnn.bin` by its wrapper `model_v73.onnx`; other
    applications load the binary with QNN. float32 is not supported: the DSP has no float32
    arithmetic, although the emulator does.
    """

    name = "qnn"
    session = QnnSession
    install_hint = "pip install -c constraints.txt -e '.[qnn]'"
    activations = "uint8"
    native_precisions = ("int8", "float16")

    def capabilities(self) -> Capabilities:
        """Builds and emulates on x86-64; otherwise runs on a DSP (UNVERIFIED)."""
        here = super().capabilities()
        if here.can_build and platform.machine() == EMULATES:
            reason = "The Hexagon DSP is emulated on this machine, which says nothing of its speed."
            return Capabilities(can_measure=False, reason=reason)
        if here.can_build and not npus():
            reason = "No Hexagon DSP answers on this machine, and only x86-64 emulates one."
            return Capabilities(False, False, False, reason)
        return here

    def check_hardware(self, device: Device) -> None:
        """DSP generations that are known and can run the precision."""
        self.require_generations("dsp_architectures", device.dsp_architectures, ARCHITECTURES)
        if device.precision == "float16":
            _require_float16(device)

    def why_not_mixed(self, device: Device) -> str:
        """Float layers run in float16, which the oldest generations do not support."""
        return _NO_FLOAT16 if _OLDEST in device.dsp_architectures else ""

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Compile one context binary per DSP generation, and load each once as a check."""
        details = self.start_build(onnx_model, precision, device)
        _require_runnable(onnx_model)
        if precision == "float16":
            _require_float16(device)
        wanted = sorted(device.dsp_architectures, key=ARCHITECTURES.index)
        files: list[Path] = []
        with staged(folder) as work:
            for architecture in wanted:
                built = _compile(onnx_model, architecture, work)
                self.open(built[0], device.threads).close()
                files += built
        details |= {
            "dsp_architectures": wanted,
            "entries": {name: _entry(name) for name in wanted},
            "not_reproducible": [file.name for file in files if file.suffix == ".bin"],
            "rebuild": (
                "a context binary runs on its generation of Hexagon DSP and newer ones, with this "
                "or a newer QNN; for others compile the portable ONNX file with ONNX Runtime's "
                "QNNExecutionProvider, htp_arch and ep.context_enable"
            ),
        }
        return Built(tuple(file.name for file in files), _entry(wanted[0]), details)

    def open(self, entry: Path, threads: int) -> Session:
        """Load a context binary by its ONNX wrapper, or compile an int8 or float16 ONNX file."""
        if not _wraps_context(entry):
            _require_runnable(entry)
        return super().open(entry, threads)


def _compile(onnx_model: Path, architecture: str, folder: Path) -> tuple[Path, Path]:
    """Write the context binary and its ONNX wrapper for one DSP generation.

    Raises:
        DeviceError: QNN does not support a layer, or compiled for another generation, as it
            does silently for an unknown one.
    """
    entry = folder / _entry(architecture)
    config = {
        "ep.context_enable": "1",
        "ep.context_file_path": str(entry),
        "ep.context_embed_mode": "0",  # a separate binary, for other applications
    }
    number = architecture.removeprefix("v")
    with device_errors():
        open_on_dsp(onnx_model, 1, {"htp_arch": number}, config)
    binary = entry.with_name(f"{entry.stem}_qnn.bin")
    if not binary.is_file() or f";arch={number};".encode() not in binary.read_bytes():
        raise DeviceError(f"QNN compiled {onnx_model.name} for another DSP than {architecture}.")
    return entry, binary


def _entry(architecture: str) -> str:
    return f"{MODEL}_{architecture}.onnx"


def _wraps_context(file: Path) -> bool:
    nodes = load_onnx(file, weights=False).graph.node
    return any(node.op_type == "EPContext" for node in nodes)


def _require_float16(device: Device) -> None:
    if _OLDEST in device.dsp_architectures:
        raise DeviceError(_NO_FLOAT16)


def _require_runnable(onnx_model: Path) -> None:
    details, precision = describe(onnx_model)
    if precision not in Qnn.native_precisions:
        raise DeviceError(
            f"{onnx_model.name} is a {precision} model, which a Hexagon DSP does not support; "
            "convert it to int8 or float16 with devices.quantize.static first."
        )
    for value in details["inputs"]:
        if not all(value["shape"]):
            raise DeviceError(
                f"{onnx_model.name}: input '{value['name']}' has shape {value['shape']}, but QNN "
                "needs every axis fixed (0 marks a dynamic axis)."
            )
    if precision == "int8":
        require_activations(onnx_model, Qnn.activations)
