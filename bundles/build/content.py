"""Build the content of a bundle's manifest from the stages' results."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator

from bundles.build.results import Results
from bundles.manifest import (
    Content,
    Costs,
    GoldenOutputs,
    LedgerEntry,
    MeasuredAccuracy,
    MeasuredLatency,
    Model,
    Processor,
    Provenance,
    Reference,
    accuracy_of,
    relative_error,
)
from bundles.settings import BundleParams
from core.files import rounded, sha256_file
from devices.latency.budgets import peak_memory_mb, with_milliseconds
from devices.latency.cost import predict_ms
from devices.measure.fingerprint import IDENTITY
from devices.quantize.result import Candidate
from models.nets.equivalence import EquivalenceCheck, require_checks
from models.space.costs import flops, parameters

PORTABLE = "model.onnx"
PACKAGES = ("netwright", "numpy", "onnx", "onnxruntime", "torch")


def manifest_content(results: Results, golden: GoldenOutputs, params: BundleParams) -> Content:
    """Return the manifest's fields that are not derived from the bundle's files.

    Raises:
        EquivalenceError: an equivalence check is missing or failed.
    """
    architecture = results.architecture
    return Content(
        name=results.name,
        device=with_milliseconds(results.device, results.profile.table),
        architecture=architecture.to_json(),
        architecture_id=architecture.id,
        architecture_short=architecture.short(),
        precision=results.export.precision,
        model=_model(results),
        accuracy=_accuracy(results),
        quality=results.export.quality.summary(),
        latency_ms=_latency(results),
        costs=_costs(results),
        candidates=results.quantize.candidates,
        choice=results.quantize.reason,
        ledger=tuple(_ledger(results)),
        checks=_checks(results),
        golden=golden,
        provenance=_provenance(results, params),
        versions={package: importlib.metadata.version(package) for package in PACKAGES},
    )


def _model(results: Results) -> Model:
    export, machine = results.export, results.export.machine
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
        measured_on=None
        if machine is None
        else Processor(
            processor=machine["processor"],
            system=machine["system"],
            features=machine.get("features"),
        ),
    )


def _accuracy(results: Results) -> MeasuredAccuracy:
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
    return MeasuredAccuracy(
        float32=float32,
        int8=accuracy_of("int8", quantize.candidates, export.built_from),
        delivered=delivered,
        measured_on=measured_on,
    )


def _latency(results: Results) -> MeasuredLatency:
    export, profile = results.export, results.profile
    reference = None
    if export.measured_ms is not None and profile.reference is not None:
        assert profile.reference_ms is not None  # measured together
        machine = profile.machine or {}
        reference = Reference(
            architecture=dict(profile.reference),
            ms=profile.reference_ms,
            machine={key: machine[key] for key in IDENTITY if key in machine},
        )
    return MeasuredLatency(
        predicted=_predicted_ms(results, results.quantize.candidate(export.built_from)),
        measured=export.measured_ms,
        interval=export.interval,
        budget=with_milliseconds(results.device, profile.table).budget.latency_ms,
        share=results.device.budget.latency_share,
        reference=reference,
        why_not_measured=export.why_not_measured,
    )


def _predicted_ms(results: Results, candidate: Candidate) -> float | None:
    """Return the latency predicted for a candidate; None if the model does not cover it.

    The latency model covers uniform precisions only, not mixed ones.
    """
    table = results.profile.table
    if candidate.in_float or candidate.precision not in table.precisions:
        return None  # the table of an unmeasured device has no precisions
    return rounded(predict_ms(table, results.architecture, candidate.precision))


def _costs(results: Results) -> Costs:
    """Return FLOPs, parameters, and peak memory if the device has a memory budget."""
    architecture, memory = results.architecture, peak_memory_mb(results.export.precision)
    limited = results.device.budget.memory_mb is not None
    return Costs(
        flops=flops(architecture),
        parameters=parameters(architecture),
        memory_mb=rounded(memory(architecture)) if limited else None,
    )


def _ledger(results: Results) -> Iterator[LedgerEntry]:
    """Yield predictions with later measurements, first the delivered file's latency."""
    export, candidates = results.export, results.quantize.candidates
    delivered = results.quantize.candidate(export.built_from)
    rows = [("delivered file", delivered, export.measured_ms)]
    rows += [(f"{row.name} ONNX file", row, row.latency_ms) for row in candidates]
    for what, row, measured in rows:
        predicted = _predicted_ms(results, row)
        error = results.profile.table.error.get(row.precision)
        yield LedgerEntry(
            what=f"latency of the {what}",
            unit="ms",
            predicted=predicted,
            predicted_by=f"the device's latency model in {row.precision}",
            measured=measured,
            measured_by=f"{export.runtime} on the device",
            error=relative_error(predicted, measured),
            expected_error=None if error is None or predicted is None else rounded(error.mean),
        )
    predicted, measured = results.choice.supernet_accuracy, results.val_accuracy
    yield LedgerEntry(
        what="accuracy of the trained network on validation images",
        unit="top-1",
        predicted=predicted,
        predicted_by="its slice of the supernet",
        measured=measured,
        measured_by="the network after its own training",
        error=relative_error(predicted, measured),
        expected_error=None,  # slices predict the order of networks, not their accuracy
    )


def _checks(results: Results) -> tuple[EquivalenceCheck, ...]:
    """Return the equivalence checks from supernet to delivered file, in order."""
    quantize, export = results.quantize, results.export
    checks = (results.slice_check, *quantize.checks_of_chosen(), *export.checks)
    require_checks(checks)
    return checks


def _provenance(results: Results, params: BundleParams) -> Provenance:
    """Return hashes of params, data set and results."""
    sections = [params.model_dump(mode="json"), results.device.model_dump(mode="json")]
    canonical = json.dumps(sections, sort_keys=True, separators=(",", ":"))
    return Provenance(
        params_sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        dataset=results.info.name,
        dataset_sha256=sha256_file(results.folders.data / results.info.FILE),
        inputs=dict(results.hashes),
    )
