"""The int8 files of one network for one family of runtimes, and what each runtime makes of them.

Axes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.quantize.networks import Network
from core.files import write_bytes
from data.dataset import Split
from devices.device import Activations, Budget, Device, DeviceError
from devices.measure.inference import Logits, accuracy, logits
from devices.measure.interleaved import Protocol, measure
from devices.quantize.evaluate import calibration_images
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
        images: at most so many test images are run on each runtime.
        protocol: how carefully latency is measured; None measures none.
        params: of the calibration, as in the stage `quantize`.
    """

    runtimes: tuple[str, ...]
    images: int
    protocol: Protocol | None
    params: QuantizeParams


@dataclass(frozen=True)
class Row:
    """One file of one network on one runtime; None is what was not measured.

    Attributes:
        network: its name.
        runtime: the backend's.
        variant: `float32` or `int8 METHOD`.
        accuracy: top-1 on test images.
        agreement: share of them with the same class as the float32 ONNX file in ONNX Runtime.
        size: bytes of what is delivered.
        speedup: time of the runtime's float32 file over this one's, in interleaved blocks.
        spread: interquartile range of that ratio over its median.
        why_not: why the runtime does not run it; empty if it does.
    """

    network: str
    runtime: str
    variant: str
    accuracy: float | None = None
    agreement: float | None = None
    size: int | None = None
    speedup: float | None = None
    spread: float | None = None
    why_not: str = ""


@dataclass
class Variants:
    """The ONNX files of one network, made on demand.

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
    _int8: dict[Activations, tuple[str, Path]] = field(default_factory=dict)

    def float32(self) -> Path:
        """The network in float."""
        file = self.folder / "float32.onnx"
        if not file.is_file():
            write_bytes(file, to_onnx(self.network.module, self.images.info.image_shape))
        return file

    def int8(self, activations: Activations) -> tuple[str, Path]:
        """The calibration method with the highest accuracy on validation images, and its file."""
        if activations not in self._int8:
            self._int8[activations] = self._best(activations)
        return self._int8[activations]

    def _best(self, activations: Activations) -> tuple[str, Path]:
        params, images = self.effort.params, self.images
        rng = np.random.default_rng(params.seed)
        rows = calibration_images(images.train, images.info, params.calibration_images, rng)
        source = self.float32()
        ready = calibrate(source, rows, activations, params.methods, params.percentile)
        found: dict[str, tuple[float, Path]] = {}
        for method in methods_of(activations, params.methods):
            file = self.folder / f"{activations}-{method}.onnx"
            write_bytes(file, quantize(ready, method))
            val_NK = logits(backend("onnxruntime"), file, images.val, images.info)
            found[method] = accuracy(val_NK, images.val), file
        best = max(found, key=lambda method: found[method][0])
        return best, found[best][1]


def rows_of(variants: Variants) -> Iterator[Row]:
    """All files of a network on all runtimes, float32 first on each."""
    test = spread(variants.images.test, variants.effort.images)
    reference_NK = logits(backend("onnxruntime"), variants.float32(), test, variants.images.info)
    for name in variants.effort.runtimes:
        runtime = backend(name)
        method, file = variants.int8(runtime.activations)
        files = {"float32": variants.float32(), f"int8 {method}": file}
        yield from _on_runtime(variants, runtime, files, test, reference_NK)


def _on_runtime(
    variants: Variants,
    runtime: Backend,
    files: Mapping[str, Path],
    test: Split,
    reference_NK: Logits,
) -> Iterator[Row]:
    entries: dict[str, Path] = {}
    rows: list[Row] = []
    for variant, file in files.items():
        about = variants.network.name, runtime.name, variant
        try:
            folder, built = _build(variants.folder, runtime, variant, file)
        except DeviceError as error:  # a runtime that cannot is a result, too
            rows.append(Row(*about, why_not=str(error)))
            continue
        entries[variant] = folder / built.entry
        found_NK = logits(runtime, entries[variant], test, variants.images.info)
        agreement = float((found_NK.argmax(1) == reference_NK.argmax(1)).mean())
        size = sum((folder / name).stat().st_size for name in built.files)
        rows.append(Row(*about, accuracy(found_NK, test), agreement, size))
    yield from _timed(runtime.name, rows, entries, variants.effort.protocol)


def _build(folder: Path, runtime: Backend, variant: str, file: Path) -> tuple[Path, Built]:
    target = folder / f"{runtime.name}-{variant.replace(' ', '-')}"
    target.mkdir()
    device = Device(backend=runtime.name, budget=Budget(latency_ms=1.0), min_accuracy=0.0)
    return target, runtime.build(file, variant.split()[0], target, device)


def _timed(
    runtime: str, rows: list[Row], entries: Mapping[str, Path], protocol: Protocol | None
) -> Iterator[Row]:
    """The rows with the speed of int8 over the float32 file beside which each is measured."""
    lower = {variant: entry for variant, entry in entries.items() if variant != "float32"}
    if protocol is None or "float32" not in entries or not lower:
        yield from rows
        return
    found = measure(runtime, lower, entries["float32"], 1, protocol)
    for row in rows:
        if row.variant not in found:
            yield row
            continue
        timing = found[row.variant]
        yield replace(row, speedup=1 / timing.ratio, spread=timing.spread)
