"""From the chosen ONNX file to what the device gets, checked on real images and measured.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.dataset import DatasetInfo, Split, read_split
from devices.backends import Backend, Built, backend
from devices.device import Device
from devices.fingerprint import machine_state
from devices.measure import Protocol
from stages.common.clock import Clock
from stages.common.devices import pick_device
from stages.common.files import read_json, rounded, write_json
from stages.common.hops import Hop, compare
from stages.common.inference import accuracy, logits
from stages.common.params import read_section
from stages.common.progress import Progress, counted
from stages.common.runtime import prepare_machine
from stages.common.schemas import EXPORT, QUANTIZE
from stages.export.params import ExportParams

FLOAT32 = "float32"


@dataclass(frozen=True)
class Checked:
    """The delivered file on its own runtime."""

    hop: Hop
    accuracy: float
    latency_ms: float
    spread: float


def main() -> None:
    """Parse the flags, build, check and measure the delivered file, write `export.json`."""
    parser = argparse.ArgumentParser(prog="python -m stages.export", description=__doc__)
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
    precision = str(read_json(flags.model / "quantize.json", QUANTIZE)["chosen"])
    flags.out.mkdir(parents=True, exist_ok=True)

    built = runtime.build(flags.model / f"{precision}.onnx", precision, flags.out, device)
    away = runtime.why_not_measured(device)
    checked = None
    if not away:
        info, test = DatasetInfo.read(flags.data), read_split(flags.data, "test")
        clock, entry = Clock.read(flags.profile), flags.out / built.entry
        checked = check(flags.model, entry, precision, device, (test, info), clock, params)
        checked.hop.require()
    content = describe(runtime, precision, built, checked, away)
    write_json(flags.out / "export.json", EXPORT, content)


def check(
    folder: Path,
    entry: Path,
    precision: str,
    device: Device,
    test: tuple[Split, DatasetInfo],
    clock: Clock,
    params: ExportParams,
) -> Checked:
    """Compare the delivered file with the ONNX file it was built from, and measure it.

    Args:
        folder: with the ONNX files.
        entry: the delivered file.
        precision: which ONNX file it was built from.
        device: whose runtime and threads count.
        test: the test split and its description.
        clock: of the device's profile.
        params: limits and the measuring protocol.
    """
    split, info = test
    runtime = backend(device.backend)
    expected_NK = logits(backend("onnxruntime"), folder / f"{precision}.onnx", split, info)
    found_NK = logits(runtime, entry, split, info)
    exact = precision == FLOAT32
    hop = compare(
        f"{precision} ONNX",
        f"delivered file in {runtime.runtime}",
        expected_NK,
        found_NK,
        params.max_difference if exact else None,
        params.float32_agreement if exact else params.min_agreement,
    )
    protocol = Protocol(params.blocks, params.calls, params.max_spread)
    models = {"delivered": entry}
    with Progress("measure", 1) as progress:
        found = clock.measure(runtime.name, models, device.threads, protocol, counted(progress))
    delivered = found["delivered"]
    return Checked(hop, accuracy(found_NK, split), delivered.ms, delivered.spread)


def describe(
    runtime: Backend, precision: str, built: Built, checked: Checked | None, away: str
) -> dict[str, Any]:
    """The content of `export.json`.

    Args:
        runtime: the device's backend.
        precision: what was delivered.
        built: the files.
        checked: what was found on the device's runtime; None where it does not run here.
        away: why it does not, or "".
    """
    return {
        "precision": precision,
        "files": list(built.files),
        "entry": built.entry,
        "runtime": runtime.runtime,
        "runtime_version": runtime.version(),
        "details": dict(built.details),
        "accuracy": rounded(checked.accuracy) if checked else None,
        "measured_ms": rounded(checked.latency_ms) if checked else None,
        "spread": rounded(checked.spread) if checked else None,
        "why_not_measured": away or None,
        "hops": [checked.hop.to_json()] if checked else [],
        "machine": machine_state(runtime.name) if checked else None,
    }
