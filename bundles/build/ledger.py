"""Compare predictions made before a network was built with later measurements."""

from __future__ import annotations

from bundles.build.results import Results
from bundles.manifest import LedgerEntry, relative_error
from core.files import rounded
from devices.latency.cost import predict_ms
from devices.quantize.result import CandidateResult

MILLISECONDS, TOP1 = "ms", "top-1"


def build_ledger(results: Results) -> tuple[LedgerEntry, ...]:
    """Return the manifest's ledger; unknown numbers are None.

    First the delivered file's latency, then that of every candidate, then accuracy.
    """
    export, quantize = results.export, results.quantize
    delivered = quantize.candidate(export.built_from)
    rows = [_latency(results, "delivered file", delivered, export.measured_ms)]
    rows += [
        _latency(results, f"{row.name} ONNX file", row, row.latency_ms)
        for row in quantize.candidates
    ]
    return (*rows, _accuracy(results))


def predicted_ms(results: Results, candidate: CandidateResult) -> float | None:
    """Return the latency predicted for a candidate; None if the model does not cover it.

    The latency model covers uniform precisions only, not mixed ones.
    """
    table = results.profile.table
    if candidate.in_float or candidate.precision not in table.precisions:
        return None  # the table of an unmeasured device has no precisions
    return rounded(predict_ms(table, results.architecture, candidate.precision))


def _latency(
    results: Results, what: str, candidate: CandidateResult, measured: float | None
) -> LedgerEntry:
    predicted = predicted_ms(results, candidate)
    error = results.profile.table.error.get(candidate.precision)
    return LedgerEntry(
        what=f"latency of the {what}",
        unit=MILLISECONDS,
        predicted=predicted,
        predicted_by=f"the device's latency model in {candidate.precision}",
        measured=measured,
        measured_by=f"{results.export.runtime} on the device",
        error=_error(predicted, measured),
        expected_error=None if error is None or predicted is None else rounded(error.mean),
    )


def _accuracy(results: Results) -> LedgerEntry:
    """Return the entry on supernet accuracy against accuracy after training."""
    predicted, measured = results.choice.supernet_accuracy, results.train["accuracy"]["val"]
    return LedgerEntry(
        what="accuracy of the trained network on validation images",
        unit=TOP1,
        predicted=predicted,
        predicted_by="its slice of the supernet",
        measured=measured,
        measured_by="the network after its own training",
        error=_error(predicted, measured),
        expected_error=None,  # slices predict the order of networks, not their accuracy
    )


def _error(predicted: float | None, measured: float | None) -> float | None:
    if predicted is None or not measured:
        return None
    return relative_error(predicted, measured)
