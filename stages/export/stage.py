"""From the chosen ONNX file to what the device gets, checked on real images and measured.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import DatasetInfo, Split, read_split
from devices.agent.quiet import quiet
from devices.backends import Backend, Built, backend
from devices.bench import Bench, bench_of
from devices.measure import Measurement, Protocol, pooled, repeated
from stages.common.clock import Clock
from stages.common.devices import pick_device
from stages.common.files import read_json, rounded, write_json
from stages.common.hops import Hop, Limits, compare, onnx_form, scaled, unmeasured
from stages.common.inference import accuracy, device_logits, reference_logits
from stages.common.params import read_section
from stages.common.progress import Progress, counted
from stages.common.runtime import prepare_machine
from stages.common.schemas import EXPORT, QUANTIZE
from stages.export.params import ExportParams

FLOAT32 = "float32"


@dataclass(frozen=True)
class Source:
    """What the stage `quantize` chose.

    Attributes:
        name: what the identity chain calls it.
        precision: that it computes in.
        onnx: its file.
    """

    name: str
    precision: str
    onnx: Path


@dataclass(frozen=True)
class Checked:
    """The delivered file on its own runtime.

    Attributes:
        hop: how it compares with the ONNX file it was built from.
        accuracy: top-1 on the test split; None where only some of it was run, in an emulator.
        latency: median per image; None where it could not be measured.
        emulated: whether the runtime is only emulated here.
        machine: what ran it.
    """

    hop: Hop
    accuracy: float | None
    latency: Measurement | None
    emulated: bool
    machine: dict[str, Any]


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
    quiet()
    runtime = backend(device.backend)
    quantised = read_json(flags.model / "quantize.json", QUANTIZE)
    source = Source(quantised["name"], quantised["chosen"], flags.model / quantised["file"])
    flags.out.mkdir(parents=True, exist_ok=True)

    built = runtime.build(source.onnx, source.precision, flags.out, device)
    bench, checked = bench_of(flags.device, device), None
    if not bench.why_not_run:
        data = read_split(flags.data, "test"), DatasetInfo.read(flags.data)
        entry = flags.out / built.entry
        emulated = device.agent is None and bool(runtime.why_not_measured(device))
        hop, share = check(source, entry, bench, emulated, data, params)
        hop.require()
        latency = None
        if not bench.why_not_measured:
            latency = measured(Clock.read(flags.profile), flags.device, bench, entry, params)
        checked = Checked(hop, share, latency, emulated, bench.machine())
    content = describe(runtime, source, built, checked, bench.why_not_measured, params)
    write_json(flags.out / "export.json", EXPORT, content)


def check(
    source: Source,
    entry: Path,
    bench: Bench,
    emulated: bool,
    test: tuple[Split, DatasetInfo],
    params: ExportParams,
) -> tuple[Hop, float | None]:
    """Compare the delivered file with the ONNX file it was built from.

    An emulator is hundreds of times slower than the device, so there only some images are run.

    Args:
        source: the ONNX file.
        entry: the delivered file.
        bench: where the delivered file runs.
        emulated: whether it is only emulated there.
        test: the test split and its description.
        params: limits.

    Returns:
        The comparison, and the top-1 accuracy; None where only some images were run.
    """
    split, info = test
    if emulated:
        split = spread_out(split, params.emulated_images)
    expected_NK = reference_logits(source.onnx, split, info)
    found_NK = device_logits(bench, entry, split, info)
    limits = hop_limits(params, source.precision)
    if source.precision != FLOAT32:
        limits = replace(limits, max_difference=scaled(params.lower_difference, expected_NK))
    names = onnx_form(source.name), delivered_in(bench.runtime)
    hop = compare(*names, expected_NK, found_NK, np.asarray(split.labels_N), limits)
    return hop, accuracy(found_NK, split) if len(split) == len(test[0]) else None


def measured(
    clock: Clock, name: str, bench: Bench, entry: Path, params: ExportParams
) -> Measurement:
    """The delivered file's latency, in the clock of the device's profile."""
    protocol = Protocol(params.blocks, params.calls, params.max_interval, params.time_limit_s)
    models = repeated(entry)
    with Progress("measure", len(models)) as progress:
        return pooled(clock.measure(name, bench, models, protocol, counted(progress)))


def spread_out(split: Split, count: int) -> Split:
    """At most `count` images, evenly spread over a split."""
    rows = np.arange(min(count, len(split))) * len(split) // max(1, min(count, len(split)))
    return Split(split.images_NHWC[rows], split.labels_N[rows])


def delivered_in(runtime: str) -> str:
    """What the identity chain calls the delivered file in a runtime."""
    return f"delivered file in {runtime}"


def hop_limits(params: ExportParams, precision: str) -> Limits:
    """What the hop may cost; the logits' difference of a lower precision needs their scale."""
    if precision == FLOAT32:
        return Limits(params.max_difference, params.float32_agreement, params.float32_accuracy_drop)
    return Limits(None, params.min_agreement, params.lower_accuracy_drop)


def describe(
    runtime: Backend,
    source: Source,
    built: Built,
    checked: Checked | None,
    away: str,
    params: ExportParams,
) -> dict[str, Any]:
    """The content of `export.json`.

    Args:
        runtime: the device's backend.
        source: what it was built from.
        built: the files.
        checked: what was found on the device's runtime; None where it does not run here.
        away: why its latency was not measured, or "".
        params: with the limits that would hold where the file runs.
    """
    latency = checked.latency if checked else None
    names = onnx_form(source.name), delivered_in(runtime.runtime)
    unknown = unmeasured(*names, hop_limits(params, source.precision), away)
    return {
        "precision": source.precision,
        "built_from": source.onnx.name,
        "files": list(built.files),
        "entry": built.entry,
        "runtime": runtime.runtime,
        "runtime_version": runtime.version(),
        "details": dict(built.details),
        "accuracy": rounded(checked.accuracy) if checked else None,
        "measured_ms": rounded(latency.ms) if latency else None,
        "spread": rounded(latency.spread) if latency else None,
        "interval": [rounded(ms) for ms in latency.interval] if latency else None,
        "emulated": checked is not None and checked.emulated,
        "why_not_measured": away or None,
        "hops": [checked.hop.to_json() if checked else unknown],
        "machine": checked.machine if checked else None,
    }
