"""Build the device's model files from the chosen ONNX file, verify them and measure latency.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.files import read_json, rounded, write_json
from core.process import prepare_machine
from core.progress import Progress, count_steps
from core.schemas import EXPORT, QUANTIZE
from core.settings import read_section
from data.dataset import DatasetInfo, Split, read_split
from devices.fleet.read import pick_device
from devices.measure.inference import accuracy, device_logits, reference_logits
from devices.measure.interleaved import Measurement, Protocol, pool, replicate
from devices.measure.reference import LatencyReference
from devices.measure.target import Target, open_target
from devices.runtimes.base import Backend, Built
from devices.runtimes.registry import backend
from devices.runtimes.settings import ExportParams
from models.nets.equivalence import (
    EquivalenceCheck,
    Limits,
    compare,
    onnx_name,
    scaled,
    unmeasured_check,
)

FLOAT32 = "float32"


@dataclass(frozen=True)
class Source:
    """What the stage `quantize` chose.

    Attributes:
        name: its name in the equivalence checks.
        precision: its numeric precision.
        onnx: path of the ONNX file.
    """

    name: str
    precision: str
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


def main() -> None:
    """Parse the flags, build, verify and measure the delivered file, write `export.json`."""
    parser = argparse.ArgumentParser(prog="python -m stages export", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "export", ExportParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(1, seed=0)
    runtime = backend(device.backend)
    quantised = read_json(flags.model / "quantize.json", QUANTIZE)
    source = Source(quantised["name"], quantised["chosen"], flags.model / quantised["file"])
    flags.out.mkdir(parents=True, exist_ok=True)

    built = runtime.build(source.onnx, source.precision, flags.out, device)
    target, result = open_target(flags.device, device), None
    if not target.why_not_run:
        data = read_split(flags.data, "test"), DatasetInfo.read(flags.data)
        entry = flags.out / built.entry
        emulated = device.agent is None and bool(runtime.why_not_measured(device))
        check, share = compare_with_source(source, entry, target, emulated, data, params)
        check.require()
        latency = None
        if not target.why_not_measured:
            reference = LatencyReference.read(flags.profile)
            latency = measure_latency(reference, flags.device, target, entry, params)
        result = DeviceResult(check, share, latency, emulated, target.machine())
    content = describe(runtime, source, built, result, target.why_not_measured, params)
    write_json(flags.out / "export.json", EXPORT, content)


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
    limits = equivalence_limits(params, source.precision)
    if source.precision != FLOAT32:
        limits = replace(limits, max_difference=scaled(params.lower_difference, expected_NK))
    names = onnx_name(source.name), delivered_name(target.runtime)
    check = compare(*names, expected_NK, found_NK, np.asarray(split.labels_N), limits)
    return check, accuracy(found_NK, split) if len(split) == len(test[0]) else None


def measure_latency(
    reference: LatencyReference, name: str, target: Target, entry: Path, params: ExportParams
) -> Measurement:
    """Measure the delivered file's latency, normalised to the profile's reference network."""
    protocol = Protocol(params.blocks, params.calls, params.max_interval, params.time_limit_s)
    models = replicate(entry)
    with Progress("measure", len(models)) as progress:
        return pool(reference.measure(name, target, models, protocol, count_steps(progress)))


def subsample(split: Split, count: int) -> Split:
    """Return at most `count` images, evenly spaced over a split."""
    rows = np.arange(min(count, len(split))) * len(split) // max(1, min(count, len(split)))
    return Split(split.images_NHWC[rows], split.labels_N[rows])


def delivered_name(runtime: str) -> str:
    """Name of the delivered file in the equivalence checks."""
    return f"delivered file in {runtime}"


def equivalence_limits(params: ExportParams, precision: str) -> Limits:
    """Limits of the check; below float32 the logit limit is set later, from the logits' scale."""
    if precision == FLOAT32:
        return Limits(params.max_difference, params.float32_agreement, params.float32_accuracy_drop)
    return Limits(None, params.min_agreement, params.lower_accuracy_drop)


def describe(
    runtime: Backend,
    source: Source,
    built: Built,
    result: DeviceResult | None,
    why_not_measured: str,
    params: ExportParams,
) -> dict[str, Any]:
    """Return the content of `export.json`.

    Args:
        runtime: the device's backend.
        source: the ONNX file it was built from.
        built: the files.
        result: results on the device's runtime; None if it cannot run on this machine.
        why_not_measured: why latency was not measured, or "".
        params: the limits, also recorded for an unmeasured check.
    """
    latency = result.latency if result else None
    names = onnx_name(source.name), delivered_name(runtime.runtime)
    limits = equivalence_limits(params, source.precision)
    unknown = unmeasured_check(*names, limits, why_not_measured)
    return {
        "precision": source.precision,
        "built_from": source.onnx.name,
        "files": list(built.files),
        "entry": built.entry,
        "runtime": runtime.runtime,
        "runtime_version": runtime.version(),
        "details": dict(built.details),
        "accuracy": rounded(result.accuracy) if result else None,
        "measured_ms": rounded(latency.ms) if latency else None,
        "spread": rounded(latency.spread) if latency else None,
        "interval": [rounded(ms) for ms in latency.interval] if latency else None,
        "emulated": result is not None and result.emulated,
        "why_not_measured": why_not_measured or None,
        "hops": [result.check.to_json() if result else unknown],
        "machine": result.machine if result else None,
    }
