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
from data.dataset import DatasetInfo, Split
from devices.device import Device, Precision
from devices.measure.inference import accuracy, device_logits, reference_logits
from devices.measure.interleaved import Measurement, pool, replicate
from devices.measure.reference import LatencyReference
from devices.measure.settings import ExportParams
from devices.measure.target import Target
from devices.runtimes.base import Backend, Built
from models.nets.equivalence import EquivalenceCheck, compare, onnx_name


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
    """The ONNX file that was chosen for a device.

    Attributes:
        name: its name in the equivalence checks, such as `int8-entropy`.
        precision: its numeric precision.
        onnx: its path.
    """

    name: str
    precision: Precision
    onnx: Path


@dataclass(frozen=True)
class DeviceResult:
    """Results of the delivered file on the device's runtime.

    Attributes:
        check: equivalence with the ONNX file it was built from.
        accuracy: top-1 on the test split; None if only a subset was run, in an emulator.
        latency: median per image; None if it could not be measured.
        emulated: whether the runtime is emulated on this machine.
        machine: description of the machine that ran it.
    """

    check: EquivalenceCheck
    accuracy: float | None
    latency: Measurement | None
    emulated: bool
    machine: dict[str, Any]


def check_and_measure(
    name: str,
    device: Device,
    target: Target,
    source: Source,
    entry: Path,
    test: tuple[Split, DatasetInfo],
    profile: Path,
    runtime: Backend,
    params: ExportParams,
) -> DeviceResult:
    """Run the delivered file on its target: equivalence, accuracy, and latency if possible.

    Args:
        name: the device's name.
        device: its settings.
        target: execution target, which can run the file.
        source: the ONNX file.
        entry: the delivered file.
        test: the test split and its description.
        profile: output folder of the stage `profile`, with the reference network.
        runtime: the device's backend.
        params: limits and measurement protocol.

    Raises:
        EquivalenceError: the delivered file is not equivalent to the ONNX file.
        MeasurementError: the latency cannot be measured.
    """
    emulated = device.agent is None and bool(runtime.why_not_measured(device))
    check, share = compare_with_source(source, entry, target, emulated, test, params)
    check.require()
    latency = None
    if not target.why_not_measured:
        latency = measure_latency(LatencyReference.read(profile), name, target, entry, params)
    return DeviceResult(check, share, latency, emulated, target.machine())


def compare_with_source(
    source: Source,
    entry: Path,
    target: Target,
    emulated: bool,
    test: tuple[Split, DatasetInfo],
    params: ExportParams,
) -> tuple[EquivalenceCheck, float | None]:
    """Compare the delivered file with the ONNX file it was built from.

    An emulator is hundreds of times slower than the device, so it runs a subset of the images.

    Args:
        source: the ONNX file.
        entry: the delivered file.
        target: execution target of the delivered file.
        emulated: whether the target is an emulator.
        test: the test split and its description.
        params: limits.

    Returns:
        The equivalence check, and the top-1 accuracy; None if only a subset was run.
    """
    split, info = test
    if emulated:
        split = subsample(split, params.emulated_images)
    expected_NK = reference_logits(source.onnx, split, info)
    found_NK = device_logits(target, entry, split, info)
    check = compare(
        onnx_name(source.name),
        delivered_name(target.runtime),
        expected_NK,
        found_NK,
        np.asarray(split.labels_N),
        params.limits.of(source.precision, expected_NK),
    )
    return check, accuracy(found_NK, split) if len(split) == len(test[0]) else None


def measure_latency(
    reference: LatencyReference, name: str, target: Target, entry: Path, params: ExportParams
) -> Measurement:
    """Measure the delivered file's latency, normalised to the profile's reference network."""
    models = replicate(entry)
    with Progress("measure", len(models)) as progress:
        return pool(reference.measure(name, target, models, params.protocol, count_steps(progress)))


def subsample(split: Split, count: int) -> Split:
    """Return at most `count` images, evenly spaced over a split."""
    rows = np.arange(min(count, len(split))) * len(split) // max(1, min(count, len(split)))
    return Split(split.images_NHWC[rows], split.labels_N[rows])


def delivered_name(runtime: str) -> str:
    """Name of the delivered file in the equivalence checks."""
    return f"delivered file in {runtime}"


def export_result(
    runtime: Backend,
    source: Source,
    built: Built,
    result: DeviceResult | None,
    why_not_measured: str,
    params: ExportParams,
) -> ExportResult:
    """Return the typed content of `export.json`.

    Args:
        runtime: the device's backend.
        source: the ONNX file it was built from.
        built: the files.
        result: results on the device's runtime; None if it cannot run on this machine.
        why_not_measured: why latency was not measured, or "".
        params: the limits, also recorded for an unmeasured check.
    """
    latency = result.latency if result else None
    unmeasured = EquivalenceCheck(
        source=onnx_name(source.name),
        target=delivered_name(runtime.runtime),
        limit=params.limits.of(source.precision, None),
        why_not_measured=why_not_measured,
    )
    return ExportResult(
        precision=source.precision,
        built_from=source.onnx.name,
        files=tuple(built.files),
        entry=built.entry,
        runtime=runtime.runtime,
        runtime_version=runtime.version(),
        details=dict(built.details),
        accuracy=rounded(result.accuracy) if result else None,
        measured_ms=rounded(latency.ms) if latency else None,
        spread=rounded(latency.spread) if latency else None,
        interval=(round(latency.interval[0], 6), round(latency.interval[1], 6))
        if latency
        else None,
        emulated=result is not None and result.emulated,
        why_not_measured=why_not_measured or None,
        checks=(result.check if result else unmeasured,),
        machine=result.machine if result else None,
    )
