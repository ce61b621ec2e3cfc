"""Build the device's model files from the chosen ONNX file, verify them and measure latency."""

from __future__ import annotations

from pathlib import Path

from devices.device import Device
from devices.measure.delivered import ExportResult, Source, check_and_measure
from devices.measure.settings import ExportParams
from devices.measure.target import open_target
from devices.quantize.result import QuantizeResult


def export(
    settings: ExportParams,
    name: str,
    device: Device,
    data: Path,
    model: Path,
    profile: Path,
    out: Path,
) -> ExportResult:
    """Build the files in `out`, and run them on the device's runtime if it is available.

    Raises:
        EquivalenceError: the delivered file is not equivalent to the ONNX file.
        MeasurementError: the latency cannot be measured.
    """
    target, chosen = open_target(name, device), QuantizeResult.read(model)
    source = Source(chosen.name, chosen.precision, model / chosen.file)
    out.mkdir(parents=True, exist_ok=True)
    built = target.backend.build(source.onnx, source.precision, out, device)
    return check_and_measure(target, source, built, out, data, profile, settings)
