"""The int8 files of one network for one family of runtimes, and what each runtime makes of them.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.quantize_networks import Network
from core.checkpoint import Checkpoint, inputs_fingerprint
from core.files import fingerprint, write_bytes
from data.dataset import Split
from devices.device import Activations, Budget, Device, DeviceError
from devices.measure.inference import Logits, accuracy, logits
from devices.measure.interleaved import Protocol, measure
from devices.quantize.evaluate import calibration_images
from devices.quantize.finetune import finetune
from devices.quantize.settings import QuantizeParams
from devices.quantize.static import calibrate, methods_of, quantize
from devices.runtimes.base import Backend, Built
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx
from models.training.learning import Images, spread

RUNTIMES = ("onnxruntime", "openvino", "litert", "executorch")


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        runtimes: backends by name.
        qat: whether int8 of a fine-tuned network is made too.
        images: at most so many test images are run on each runtime.
        protocol: how carefully latency is measured; None measures none.
        params: of calibration and fine-tuning, as the stage `quantize` has them.
        cache: folder of fine-tuned networks.
    """

    runtimes: tuple[str, ...]
    qat: bool
    images: int
    protocol: Protocol | None
    params: QuantizeParams
    cache: Path


@dataclass(frozen=True)
class Row:
    """One file of one network on one runtime; None is what was not measured.

    Attributes:
        network: its name.
        runtime: the backend's.
        form: `float32`, `int8 METHOD` or `int8 qat METHOD`.
        accuracy: top-1 on test images.
        agreement: share of them with the answer of the float32 ONNX file in ONNX Runtime.
        size: bytes of what is delivered.
        speedup: time of the runtime's float32 file over this one's, in interleaved blocks.
        spread: interquartile range of that ratio over its median.
        why_not: why the runtime does not run it; empty if it does.
    """

    network: str
    runtime: str
    form: str
    accuracy: float | None = None
    agreement: float | None = None
    size: int | None = None
    speedup: float | None = None
    spread: float | None = None
    why_not: str = ""


@dataclass
class Forms:
    """The ONNX files of one network, made when they are asked for.

    Attributes:
        network: the network.
        images: the data.
        effort: how much is done.
        folder: where the files go.
    """

    network: Network
    images: Images
    effort: Effort
    folder: Path
    _int8: dict[tuple[Activations, bool], tuple[str, Path]] = field(default_factory=dict)

    def float32(self) -> Path:
        """The network in float."""
        file = self.folder / "float32.onnx"
        if not file.is_file():
            write_bytes(file, to_onnx(self.network.module, self.images.info.image_shape))
        return file

    def int8(self, activations: Activations, qat: bool) -> tuple[str, Path]:
        """The calibration method that is best on validation images, and its file."""
        key = activations, qat
        if key not in self._int8:
            self._int8[key] = self._best(activations, qat)
        return self._int8[key]

    def _best(self, activations: Activations, qat: bool) -> tuple[str, Path]:
        params, images = self.effort.params, self.images
        rows = calibration_images(
            images.train,
            images.info,
            params.calibration_images,
            np.random.default_rng(params.seed),
        )
        source = self._finetuned(activations) if qat else self.float32()
        methods = methods_of(activations, params.methods)
        ready = calibrate(source, rows, activations, params.methods, params.percentile)
        found: dict[str, tuple[float, Path]] = {}
        for method in methods:
            file = self.folder / f"{activations}-{'qat-' * qat}{method}.onnx"
            write_bytes(file, quantize(ready, method))
            judged = logits(backend("onnxruntime"), file, images.val, images.info)
            found[method] = accuracy(judged, images.val), file
        best = max(found, key=lambda method: found[method][0])
        return best, found[best][1]

    def _finetuned(self, activations: Activations) -> Path:
        """The fine-tuned network in float, from the cache where it was made before."""
        params = self.effort.params.finetune
        # Signed or not, affine integers have the same steps, so one network serves both families.
        family: Activations = "uint8" if activations == "int8_asymmetric" else activations
        inputs = inputs_fingerprint("quantize", params)
        key = fingerprint(inputs, family, self.network.key, self.images.info.arrays)
        file = self.effort.cache / f"{self.network.name}-qat-{key[:12]}.onnx"
        if not file.is_file():
            checkpoint = Checkpoint(file, key)
            tuned, _ = finetune(self.network.module, self.images, params, (family, 8), checkpoint)
            write_bytes(file, to_onnx(tuned, self.images.info.image_shape))
            checkpoint.clear()
        return file


def rows_of(forms: Forms) -> Iterator[Row]:
    """All files of a network on all runtimes, float32 first on each."""
    test = spread(forms.images.test, forms.effort.images)
    reference_NK = logits(backend("onnxruntime"), forms.float32(), test, forms.images.info)
    for name in forms.effort.runtimes:
        runtime = backend(name)
        files = {"float32": forms.float32()}
        for qat in (False, True)[: 1 + forms.effort.qat]:
            method, file = forms.int8(runtime.activations, qat)
            files[f"int8 {'qat ' * qat}{method}"] = file
        yield from _on_runtime(forms, runtime, files, test, reference_NK)


def _on_runtime(
    forms: Forms, runtime: Backend, files: Mapping[str, Path], test: Split, reference_NK: Logits
) -> Iterator[Row]:
    entries: dict[str, Path] = {}
    rows: list[Row] = []
    for form, file in files.items():
        about = forms.network.name, runtime.name, form
        try:
            folder, built = _build(forms.folder, runtime, form, file)
        except DeviceError as error:  # a runtime that cannot is a result, too
            rows.append(Row(*about, why_not=str(error)))
            continue
        entries[form] = folder / built.entry
        found_NK = logits(runtime, entries[form], test, forms.images.info)
        agreement = float((found_NK.argmax(1) == reference_NK.argmax(1)).mean())
        size = sum((folder / name).stat().st_size for name in built.files)
        rows.append(Row(*about, accuracy(found_NK, test), agreement, size))
    yield from _timed(runtime.name, rows, entries, forms.effort.protocol)


def _build(folder: Path, runtime: Backend, form: str, file: Path) -> tuple[Path, Built]:
    target = folder / f"{runtime.name}-{form.replace(' ', '-')}"
    target.mkdir()
    device = Device(backend=runtime.name, budget=Budget(latency_ms=1.0), min_accuracy=0.0)
    return target, runtime.build(file, form.split()[0], target, device)


def _timed(
    runtime: str, rows: list[Row], entries: Mapping[str, Path], protocol: Protocol | None
) -> Iterator[Row]:
    """The rows with the speed of int8 over the float32 file beside which each is measured."""
    lower = {form: entry for form, entry in entries.items() if form != "float32"}
    if protocol is None or "float32" not in entries or not lower:
        yield from rows
        return
    found = measure(runtime, lower, entries["float32"], 1, protocol)
    for row in rows:
        if row.form not in found:
            yield row
            continue
        timing = found[row.form]
        yield replace(row, speedup=1 / timing.ratio, spread=timing.spread)
