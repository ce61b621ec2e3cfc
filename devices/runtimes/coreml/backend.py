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

from devices.device import Device
from devices.runtimes.base import MODEL, Capabilities, ConvertingBackend, suppress_warnings
from devices.runtimes.coreml.session import INPUT, OUTPUT, CoreMlSession

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
_DATE = "com.github.apple.coremltools.conversion_date"


class CoreMl(ConvertingBackend):
    """Convert to an ML program for iOS 17 and macOS 14, or newer.

    An `.mlpackage` is a folder, delivered as a zip. The system chooses the compute unit; float32
    excludes units that only support float16. int8 is weight-only, with float32 arithmetic.
    """

    name = "coreml"
    session = CoreMlSession
    suffix = ".mlpackage.zip"
    install_hint = "pip install -c constraints.txt -e '.[coreml]'"
    activations = "weights_only"
    native_precisions = ("float32", "float16", "int8")

    def capabilities(self) -> Capabilities:
        """Builds if coremltools is installed; runs on macOS (UNVERIFIED)."""
        here = super().capabilities()
        if not here.can_build or platform.system() == "Darwin":
            return here
        reason = "Core ML is a part of macOS and iOS; models are converted here but cannot be run."
        return Capabilities(can_run=False, can_measure=False, reason=reason)

    def why_not_mixed(self, device: Device) -> str:
        """Always: the converter quantises all weights itself."""
        return "Core ML's converter quantises the weights of all layers itself."

    def convert(self, onnx_model: Path, precision: str) -> tuple[bytes, dict[str, Any]]:
        """Convert to a zipped package."""
        model, layers = _convert(onnx_model, precision)
        return _zipped(model), {
            "layers": layers,
            "minimum_system": "iOS 17, macOS 14",
            "rebuild": "portable: unzip it; Xcode and Core ML of that system or newer take it",
        }


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
            compute_precision=coremltools.precision[
                "FLOAT16" if precision == "float16" else "FLOAT32"
            ],
            minimum_deployment_target=coremltools.target.iOS17,
            skip_model_load=platform.system() != "Darwin",
        )
        if precision == "int8":
            model = _with_integer_weights(model)
    operations = model._mil_program.functions["main"].operations
    counts = Counter(o.op_type for o in operations if o.op_type != "const")
    return model, dict(sorted(counts.items()))


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
        files = [path for path in folder.rglob("*") if path.is_file()]
        content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    content["Manifest.json"] = _manifest(content)
    content[_SPECIFICATION] = _specification(content)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(content):
            file.writestr(zipfile.ZipInfo(f"{MODEL}.mlpackage/{name}", _EPOCH), content[name])
    return buffer.getvalue()


def _manifest(content: dict[str, bytes]) -> bytes:
    """The package's manifest, with identifiers hashed from the paths instead of random ones."""
    manifest = json.loads(content["Manifest.json"])
    items = manifest["itemInfoEntries"]
    names = {key: _identifier(item["path"]) for key, item in items.items()}
    manifest["itemInfoEntries"] = {names[key]: item for key, item in items.items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    return (json.dumps(manifest, indent=4, sort_keys=True) + "\n").encode()


def _specification(content: dict[str, bytes]) -> bytes:
    """The network's description in a fixed order, without the date of the conversion."""
    from coremltools.proto import Model_pb2

    found = Model_pb2.Model.FromString(content[_SPECIFICATION])
    del found.description.metadata.userDefined[_DATE]
    return bytes(found.SerializeToString(deterministic=True))


def _identifier(path: str) -> str:
    found = hashlib.sha256(path.encode()).hexdigest().upper()
    return "-".join((found[:8], found[8:12], found[12:16], found[16:20], found[20:32]))
