"""Build the device's model files from the chosen ONNX file, verify them and measure latency."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.process import prepare_machine
from core.settings import read_section
from data.dataset import DatasetInfo, read_split
from devices.fleet.read import pick_device
from devices.measure.delivered import Source, check_and_measure, export_result
from devices.measure.target import open_target
from devices.quantize.result import QuantizeResult
from devices.runtimes.registry import backend
from devices.runtimes.settings import ExportParams


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
    prepare_machine(1, params.seed)
    runtime = backend(device.backend)
    chosen = QuantizeResult.read(flags.model)
    source = Source(chosen.name, chosen.precision, flags.model / chosen.file)
    flags.out.mkdir(parents=True, exist_ok=True)

    built = runtime.build(source.onnx, source.precision, flags.out, device)
    target, result = open_target(flags.device, device), None
    if not target.why_not_run:
        result = check_and_measure(
            flags.device,
            device,
            target,
            source,
            flags.out / built.entry,
            (read_split(flags.data, "test"), DatasetInfo.read(flags.data)),
            flags.profile,
            runtime,
            params,
        )
    export_result(runtime, source, built, result, target.why_not_measured, params).write(flags.out)
