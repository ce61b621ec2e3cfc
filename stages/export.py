"""Build the device's model files from the chosen ONNX file, verify them and measure latency."""

from __future__ import annotations

from pathlib import Path

from data.dataset import DatasetInfo, read_split
from devices.device import Device
from devices.measure.delivered import ExportResult, Source, check_and_measure, export_result
from devices.measure.settings import ExportParams
from devices.measure.target import open_target
from devices.quantize.result import QuantizeResult
from devices.runtimes.registry import backend


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
    runtime, chosen = backend(device.backend), QuantizeResult.read(model)
    source = Source(chosen.name, chosen.precision, model / chosen.file)
    out.mkdir(parents=True, exist_ok=True)
    built = runtime.build(source.onnx, source.precision, out, device)
    target, result = open_target(name, device), None
    if not target.why_not_run:
        test = read_split(data, "test"), DatasetInfo.read(data)
        entry = out / built.entry
        result = check_and_measure(
            name, device, target, source, entry, test, profile, runtime, settings
        )
    return export_result(runtime, source, built, result, target.why_not_measured, settings)
