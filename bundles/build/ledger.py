"""Compare predictions made before a network was built with later measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundles.build.results import Results
from bundles.manifest import relative_error
from core.files import rounded
from devices.latency.cost import predict_ms
from devices.latency.table import LatencyTable

MILLISECONDS, TOP1 = "ms", "top-1"


def build_ledger(results: Results) -> list[dict[str, Any]]:
    """Return the entries of the manifest's field `ledger`; unknown numbers are None.

    First the delivered file's latency, then that of every candidate, then accuracy.
    """
    delivered = str(results.export["built_from"])
    rows = [_latency(results, "delivered file", delivered, results.export["measured_ms"])]
    rows += [
        _latency(results, f"{row['name']} ONNX file", row["file"], row["latency_ms"])
        for row in results.quantize["candidates"]
    ]
    return [*rows, _accuracy(results)]


def predicted_ms(results: Results, file: str) -> float | None:
    """Return the latency predicted for a candidate's file; None if the model does not cover it.

    The latency model covers uniform precisions only, not mixed ones.
    """
    table = LatencyTable.from_json(results.latency)
    row = _candidate(results, file)
    if row["in_float"] or row["precision"] not in table.precisions:
        return None  # the table of an unmeasured device has no precisions
    return rounded(predict_ms(table, results.architecture, row["precision"]))


def _candidate(results: Results, file: str) -> Mapping[str, Any]:
    rows: list[Mapping[str, Any]] = results.quantize["candidates"]
    return next(row for row in rows if row["file"] == file)


def _latency(results: Results, what: str, file: str, measured: float | None) -> dict[str, Any]:
    precision, predicted = _candidate(results, file)["precision"], predicted_ms(results, file)
    error = LatencyTable.from_json(results.latency).error.get(precision)
    return _entry(
        f"latency of the {what}",
        MILLISECONDS,
        predicted,
        f"the device's latency model in {precision}",
        measured,
        f"{results.export['runtime']} on the device",
        None if error is None or predicted is None else rounded(error.mean),
    )


def _accuracy(results: Results) -> dict[str, Any]:
    """Return the entry on supernet accuracy against accuracy after training."""
    return _entry(
        "accuracy of the trained network on validation images",
        TOP1,
        results.choice.supernet_accuracy,
        "its slice of the supernet",
        results.train["accuracy"]["val"],
        "the network after its own training",
        None,  # slices predict the order of networks, not their accuracy
    )


def _entry(
    what: str,
    unit: str,
    predicted: float | None,
    predicted_by: str,
    measured: float | None,
    measured_by: str,
    expected_error: float | None,
) -> dict[str, Any]:
    error = None
    if predicted is not None and measured:
        error = relative_error(predicted, measured)
    return {
        "what": what,
        "unit": unit,
        "predicted": predicted,
        "predicted_by": predicted_by,
        "measured": measured,
        "measured_by": measured_by,
        "error": error,
        "expected_error": expected_error,
    }
