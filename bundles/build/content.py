"""Build the content of a bundle's manifest from the stages' results.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundles.build.ledger import build_ledger, predicted_ms
from bundles.build.results import Results
from bundles.golden import Golden
from bundles.manifest import (
    Accuracy,
    Content,
    Costs,
    GoldenOutputs,
    Latency,
    Model,
    Processor,
    Provenance,
    Reference,
    accuracy_of,
)
from core.files import rounded, sha256_file
from data.dataset import FILE as DATASET_FILE
from data.dataset import DatasetInfo, Split
from data.stream import normalise
from devices.device import Device, Precision
from devices.latency.budgets import peak_memory_mb, with_milliseconds
from devices.measure.fingerprint import IDENTITY
from devices.measure.target import Target
from models.nets.equivalence import EquivalenceCheck, require_checks
from models.space.architecture import Architecture
from models.space.costs import flops, parameters

PORTABLE = "model.onnx"
PACKAGES = ("netwright", "numpy", "onnx", "onnxruntime", "torch")


def golden_indices(images: int, wanted: int) -> list[int]:
    """Return the indices of the bundled test images, evenly spaced over the split."""
    count = min(images, wanted)
    return [index * images // count for index in range(count)]


def make_golden(
    target: Target,
    entry: Path,
    threads: int,
    split: Split,
    info: DatasetInfo,
    wanted: int,
    allowed: Callable[[float], float],
) -> Golden:
    """Run a sample of test images through the delivered file.

    Args:
        target: execution target.
        entry: the delivered file.
        threads: threads the runtime may use.
        split: the test split.
        info: its description.
        wanted: number of images.
        allowed: maps the largest absolute logit to the tolerance.
    """
    chosen = golden_indices(len(split), wanted)
    images_NHWC = np.asarray(split.images_NHWC[chosen])
    inputs_NCHW = np.ascontiguousarray(normalise(images_NHWC, info).numpy())
    outputs_NK = target.outputs(entry, (row[np.newaxis] for row in inputs_NCHW), threads)
    labels_N, largest = np.asarray(split.labels_N[chosen]), float(np.abs(outputs_NK).max())
    return Golden(images_NHWC, inputs_NCHW, outputs_NK, labels_N, allowed(largest))


def manifest_content(
    name: str, device: Device, results: Results, golden: GoldenOutputs, provenance: Provenance
) -> Content:
    """Return the manifest's fields that are not derived from the bundle's files.

    Args:
        name: the device's name.
        device: its settings.
        results: results of the previous stages.
        golden: the manifest's field of that name.
        provenance: the manifest's field of that name.
    """
    architecture, quantize = results.architecture, results.quantize
    resolved = with_milliseconds(device, results.profile.table)
    return Content(
        name=name,
        device=resolved,
        architecture=architecture.to_json(),
        architecture_id=architecture.id,
        architecture_short=architecture.short(),
        precision=results.export.precision,
        model=_model(results),
        accuracy=_accuracy(results),
        latency_ms=_latency(device, resolved, results),
        costs=_costs(architecture, device, results.export.precision),
        candidates=quantize.candidates,
        choice=quantize.reason,
        ledger=build_ledger(results),
        checks=all_checks(results),
        golden=golden,
        provenance=provenance,
        versions={package: importlib.metadata.version(package) for package in PACKAGES},
    )


def _model(results: Results) -> Model:
    export = results.export
    machine = export.machine
    return Model(
        runtime=export.runtime,
        runtime_version=export.details.get("runtime_version", export.runtime_version),
        entry=export.entry,
        files=export.files,
        portable=PORTABLE,
        not_reproducible=tuple(export.details.get("not_reproducible", ())),
        built_from=export.built_from,
        built_from_sha256=results.hashes[export.built_from],
        details=export.details,
        weight_bits=results.quantize.weight_bits,
        measured_on=None if machine is None else _processor(machine),
    )


def _processor(machine: Mapping[str, Any]) -> Processor:
    """Return the fields of the machine that determine which kernels run."""
    return Processor(
        processor=machine["processor"],
        system=machine["system"],
        features=machine.get("features"),
    )


def _latency(device: Device, resolved: Device, results: Results) -> Latency:
    export = results.export
    return Latency(
        predicted=predicted_ms(results, results.quantize.candidate(export.built_from)),
        measured=export.measured_ms,
        interval=export.interval,
        budget=resolved.budget.latency_ms,
        share=device.budget.latency_share,
        reference=_reference(results),
        why_not_measured=export.why_not_measured,
    )


def _reference(results: Results) -> Reference | None:
    """Return the reference network of the measurement; None if latency was not measured."""
    profile = results.profile
    if results.export.measured_ms is None or profile.reference is None:
        return None
    assert profile.reference_ms is not None  # measured together
    machine = profile.machine or {}
    return Reference(
        architecture=dict(profile.reference),
        ms=profile.reference_ms,
        machine={key: machine[key] for key in IDENTITY if key in machine},
    )


def _costs(architecture: Architecture, device: Device, precision: Precision) -> Costs:
    """Return FLOPs, parameters, and peak memory if the device has a memory budget."""
    limited = device.budget.memory_mb is not None
    return Costs(
        flops=flops(architecture),
        parameters=parameters(architecture),
        memory_mb=rounded(peak_memory_mb(precision)(architecture)) if limited else None,
    )


def all_checks(results: Results) -> tuple[EquivalenceCheck, ...]:
    """Return the equivalence checks from supernet to delivered file, in order.

    Raises:
        EquivalenceError: one is missing or failed; the message names it.
    """
    first = EquivalenceCheck.model_validate(results.train["slice"])
    checks = (first, *results.quantize.checks_of_chosen(), *results.export.checks)
    require_checks(checks)
    return checks


def provenance_of(
    sections: Sequence[Any], data: Path, info: DatasetInfo, results: Results
) -> Provenance:
    """Return the provenance: hashes of params, data set and results.

    Args:
        sections: params read by this stage, as JSON values.
        data: the prepared data set's folder.
        info: its description.
        results: results of the previous stages.
    """
    canonical = json.dumps(list(sections), sort_keys=True, separators=(",", ":"))
    return Provenance(
        params_sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        dataset=info.name,
        dataset_sha256=sha256_file(data / DATASET_FILE),
        inputs=dict(results.hashes),
    )


def _accuracy(results: Results) -> Accuracy:
    """Return test-split top-1; of the portable file if the delivered file cannot run."""
    quantize, export = results.quantize, results.export
    delivered, measured_on = export.accuracy, f"the delivered file in {export.runtime}"
    if delivered is None:
        delivered = quantize.candidate(quantize.file).accuracy
        why = "is only emulated" if export.emulated else "does not run"
        measured_on = (
            f"the portable ONNX file in ONNX Runtime, as {export.runtime} {why} on the build "
            "machine"
        )
    float32 = accuracy_of("float32", quantize.candidates, export.built_from)
    assert float32 is not None  # always evaluated
    return Accuracy(
        float32=float32,
        int8=accuracy_of("int8", quantize.candidates, export.built_from),
        delivered=delivered,
        measured_on=measured_on,
    )
