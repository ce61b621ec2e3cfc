"""Check a delivered file against the ONNX file it was built from, and measure its latency.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from core.artifact import Artifact
from core.files import rounded
from core.progress import Progress, count_steps
from data.dataset import DatasetInfo, Split, read_split
from devices.device import Precision
from devices.measure.inference import Logits, reference_logits, single_images
from devices.measure.interleaved import Measurement, pool, replicate
from devices.measure.reference import LatencyReference
from devices.measure.settings import ExportParams
from devices.measure.target import Target
from devices.runtimes.base import Built
from models.nets.equivalence import EquivalenceCheck, compare, onnx_name
from models.quality.evaluation import Mistake, evaluate_quality, worst_mistakes
from models.quality.record import Quality

MISTAKES = 24
"""Largest number of validation images that are recorded as mistakes."""
_DELIVERED = "delivered file in {}"
"""Name of the delivered file in the equivalence checks, by its runtime."""


class ExportResult(Artifact):
    """The device's model files, their equivalence check and latency; None if not measured."""

    SCHEMA = "netwright/export/1"
    FILE = "export.json"

    precision: Precision
    built_from: str
    """File name of the ONNX file that they were built from."""
    files: tuple[str, ...]
    """Names of all files of the delivered model."""
    entry: str
    """The file that the runtime opens."""
    runtime: str
    runtime_version: str
    details: dict[str, Any]
    """Details from the backend: inputs, outputs, how to rebuild."""
    accuracy: float | None
    """Top-1 on the test split; None if at most a subset was run."""
    quality: Quality
    """Of the delivered file; of its ONNX file if `accuracy` is None."""
    mistakes: tuple[Mistake, ...]
    """Wrong answers on validation images, the most confident first."""
    measured_ms: float | None
    """Median milliseconds per image at batch 1."""
    spread: float | None
    """Relative spread of that measurement."""
    interval: tuple[float, float] | None = None
    """95% confidence interval of `measured_ms`."""
    emulated: bool
    """Whether the runtime is emulated on the build machine."""
    why_not_measured: str | None
    checks: tuple[EquivalenceCheck] = Field(alias="hops")
    """The equivalence check of the delivered file against its ONNX file."""
    machine: dict[str, Any] | None
    """The machine that ran the file; None if none did."""


@dataclass(frozen=True)
class Source:
    """The ONNX file that was chosen for a device."""

    name: str  # in the equivalence checks, such as `int8-entropy`
    precision: Precision
    onnx: Path


def check_and_measure(
    target: Target, source: Source, built: Built, folder: Path, data: Path,
    reference: LatencyReference, params: ExportParams,
) -> ExportResult:  # fmt: skip
    """Run the delivered file on its target, if that can: equivalence, accuracy, and latency.

    `folder` has the files built from `source`; `data` is an output of the stage `prepare`.

    Raises:
        EquivalenceError: the delivered file is not equivalent to the ONNX file.
        MeasurementError: the latency cannot be measured.
    """
    runtime, device, entry = target.backend, target.device, folder / built.entry
    runs = not target.why_not_run
    emulated = runs and device.agent is None and bool(runtime.why_not_measured(device))
    test_NK = latency = None
    if runs:
        check, test_NK = compare_with_source(source, entry, target, emulated, data, params)
        check.require()
    else:
        check = EquivalenceCheck(
            source=onnx_name(source.name),
            target=_DELIVERED.format(target.runtime),
            limit=params.limits.of(source.precision, None),
            why_not_measured=target.why_not_measured,
        )
    if not target.why_not_measured:
        latency = measure_latency(reference, target, entry, params)
    quality, mistakes = evaluate(source, entry, target, test_NK, data)
    return ExportResult(
        precision=source.precision,
        built_from=source.onnx.name,
        files=built.files,
        entry=built.entry,
        runtime=runtime.runtime,
        runtime_version=runtime.version(),
        details=dict(built.details),
        accuracy=None if test_NK is None else quality.accuracy,
        quality=quality,
        mistakes=mistakes,
        measured_ms=rounded(latency.ms) if latency else None,
        spread=rounded(latency.spread) if latency else None,
        interval=(round(latency.interval[0], 6), round(latency.interval[1], 6))
        if latency
        else None,
        emulated=emulated,
        why_not_measured=target.why_not_measured or None,
        checks=(check,),
        machine=target.machine() if runs else None,
    )


def compare_with_source(
    source: Source, entry: Path, target: Target, emulated: bool, data: Path, params: ExportParams
) -> tuple[EquivalenceCheck, Logits | None]:
    """Compare the delivered file with the ONNX file it was built from.

    Also returns its logits (N, K) on the test split. An emulator is hundreds of times slower than
    the device, so it runs a subset of the images, and the logits are None if one of the splits has
    more.
    """
    test, info = read_split(data, "test"), DatasetInfo.read(data)
    split = subsample(test, params.emulated_images) if emulated else test
    expected_NK = reference_logits(source.onnx, split, info)
    found_NK = target.outputs(entry, single_images(split, info))
    check = compare(
        onnx_name(source.name),
        _DELIVERED.format(target.runtime),
        expected_NK,
        found_NK,
        np.asarray(split.labels_N),
        params.limits.of(source.precision, expected_NK),
    )
    most = max(len(test), len(read_split(data, "val")))
    whole = not emulated or most <= params.emulated_images
    return check, found_NK if whole else None


def evaluate(
    source: Source, entry: Path, target: Target, test_NK: Logits | None, data: Path
) -> tuple[Quality, tuple[Mistake, ...]]:
    """Evaluate the delivered file on the test and validation images.

    Without its logits on the whole test split (`test_NK`), the ONNX file is evaluated.
    """
    info, test, val = DatasetInfo.read(data), read_split(data, "test"), read_split(data, "val")
    if test_NK is None:
        test_NK = reference_logits(source.onnx, test, info)
        val_NK = reference_logits(source.onnx, val, info)
    else:
        val_NK = target.outputs(entry, single_images(val, info))
    on_val = val_NK, np.asarray(val.labels_N)
    quality = evaluate_quality((test_NK, np.asarray(test.labels_N)), on_val, info.classes)
    return quality, worst_mistakes(on_val, quality.temperature, info.classes, MISTAKES)


def measure_latency(
    reference: LatencyReference, target: Target, entry: Path, params: ExportParams
) -> Measurement:
    """Measure the delivered file's latency, normalised to the profile's reference network."""
    models = replicate(entry)
    with Progress("measure", len(models)) as progress:
        return pool(reference.measure(target, models, params.protocol, count_steps(progress)))


def subsample(split: Split, count: int) -> Split:
    """Return at most `count` images, evenly spaced over a split."""
    rows = np.arange(min(count, len(split))) * len(split) // max(1, min(count, len(split)))
    return Split(split.images_NHWC[rows], split.labels_N[rows])
