"""Core ML for Apple devices: converts on any system, runs only on macOS.

Running follows the documented API and is UNVERIFIED (no Mac available).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.runtimes.base import MODEL, Backend, Built, Capabilities, Session, require_activations
from devices.runtimes.logs import suppress_warnings

INPUT, OUTPUT = "images", "logits"
_ENTRY = f"{MODEL}.mlpackage.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class CoreMl(Backend):
    """Convert to an ML program for iOS 17 and macOS 14, or newer.

    An `.mlpackage` is a folder, delivered as a zip. The system chooses the compute unit; float32
    excludes units that only support float16. int8 is weight-only, with float32 arithmetic.
    """

    name = "coreml"
    runtime = "Core ML"
    package = "coremltools"
    install_hint = "pip install -c constraints.txt -e '.[coreml]'"
    activations = "weights_only"
    native_precisions = ("float32", "float16", "int8")

    def capabilities(self) -> Capabilities:
        """Builds if coremltools is installed; runs on macOS (UNVERIFIED)."""
        here = super().capabilities()
        if not here.can_build or platform.system() == "Darwin":
            return here
        reason = "Core ML is a part of macOS and iOS; models are converted here but cannot be run."
        return Capabilities(here.precisions, True, False, False, reason)

    def why_not_mixed(self, device: Device) -> str:
        """Always: the converter quantises all weights itself."""
        return "Core ML's converter quantises the weights of all layers itself."

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build the zipped package; reproducible for the same ONNX file and versions."""
        details = self.start_build(onnx_model, precision, device)
        if precision == "int8":
            require_activations(onnx_model, self.activations)
        model, layers = _convert(onnx_model, precision)
        (folder / _ENTRY).write_bytes(_zipped(model))
        details |= {
            "layers": layers,
            "minimum_system": "iOS 17, macOS 14",
            "rebuild": "portable: unzip it; Xcode and Core ML of that system or newer take it",
        }
        return Built((_ENTRY,), _ENTRY, details)

    def open(self, entry: Path, threads: int) -> Session:
        """Load a zipped package, or convert and load an ONNX file. UNVERIFIED."""
        if not entry.is_file():
            raise DeviceError(f"{entry}: no such file.")
        here = self.capabilities()
        if not here.can_run:
            raise DeviceError(f"{entry} cannot be run here. {here.reason}")
        return _CoreMlSession(entry)


class _CoreMlSession(Session):
    """UNVERIFIED: needs macOS."""

    def __init__(self, entry: Path) -> None:
        import coremltools

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / f"{MODEL}.mlpackage"
            if entry.suffix == ".onnx":
                _convert(entry, "float32")[0].save(str(folder))
            else:
                with zipfile.ZipFile(entry) as file:
                    file.extractall(name)
            self._model = coremltools.models.MLModel(str(folder))
        self._shape = tuple(self._model.get_spec().description.input[0].type.multiArrayType.shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.array(self._model.predict({INPUT: images_1CHW})[OUTPUT], np.float32)

    def close(self) -> None:
        del self._model


def _convert(onnx_model: Path, precision: str) -> tuple[Any, dict[str, int]]:
    """Convert to a Core ML model; also returns layer counts by type."""
    import torch

    from devices.runtimes.onnx_torch import to_torch

    module = to_torch(onnx_model, float_weights=True)
    with suppress_warnings(), contextlib.redirect_stderr(io.StringIO()):  # progress bars
        import coremltools

        with torch.no_grad():
            example = torch.zeros(module.input_shape)
            traced = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
        model = coremltools.convert(
            traced,
            convert_to="mlprogram",
            inputs=[coremltools.TensorType(name=INPUT, shape=module.input_shape, dtype=np.float32)],
            outputs=[coremltools.TensorType(name=OUTPUT, dtype=np.float32)],
            compute_precision=(
                coremltools.precision.FLOAT16
                if precision == "float16"
                else coremltools.precision.FLOAT32
            ),
            minimum_deployment_target=coremltools.target.iOS17,
            skip_model_load=platform.system() != "Darwin",
        )
        if precision == "int8":
            model = _with_integer_weights(model)
    operations = model._mil_program.functions["main"].operations
    return model, dict(
        sorted(Counter(o.op_type for o in operations if o.op_type != "const").items())
    )


def _with_integer_weights(model: Any) -> Any:
    """Quantise the weights: the same rule recovers the integers of the ONNX file."""
    from coremltools.optimize import coreml as optimize

    rule = optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0
    )
    return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=rule))


def _zipped(model: Any) -> bytes:
    """Zip the package; reproducible, with fixed identifiers and timestamps."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / f"{MODEL}.mlpackage"
        model.save(str(folder))
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
        content = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    content["Manifest.json"] = _manifest(content)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(content):
            file.writestr(zipfile.ZipInfo(f"{MODEL}.mlpackage/{name}", _EPOCH), content[name])
    return buffer.getvalue()


def _manifest(content: dict[str, bytes]) -> bytes:
    """The package's manifest, with identifiers hashed from the paths instead of random ones."""
    manifest = json.loads(content["Manifest.json"])
    items, names = manifest["itemInfoEntries"], {}
    for identifier, item in items.items():
        names[identifier] = _identifier(item["path"])
    manifest["itemInfoEntries"] = {names[key]: item for key, item in items.items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    return (json.dumps(manifest, indent=4, sort_keys=True) + "\n").encode()


def _identifier(path: str) -> str:
    found = hashlib.sha256(path.encode()).hexdigest().upper()
    return "-".join((found[:8], found[8:12], found[12:16], found[16:20], found[20:32]))
