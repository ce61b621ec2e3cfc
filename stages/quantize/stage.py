"""From a trained network to ONNX files in several precisions, and the one to deliver."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.dataset import DatasetInfo, Split, read_split
from devices.agent.runtimes import quiet
from devices.backends import backend
from devices.backends.base import Backend
from devices.bench import Bench, bench_of
from devices.measure import Measurement, Protocol
from devices.quantization import quantize_static, to_float16
from models.architecture import Architecture
from models.onnx_export import to_onnx
from models.subnet import Subnet
from models.weights import load_into
from stages.common.clock import Clock
from stages.common.devices import pick_device
from stages.common.files import write_bytes, write_json
from stages.common.hops import Limits, compare, scaled
from stages.common.params import read_section
from stages.common.progress import Progress, counted
from stages.common.runtime import prepare_machine
from stages.common.schemas import QUANTIZE
from stages.quantize.choice import FLOAT32, Candidate, choose
from stages.quantize.evaluate import Judged, calibration_images, judge_module, judge_onnx
from stages.quantize.params import QuantizeParams


def main() -> None:
    """Parse the flags, read the network and the data, write the ONNX files and `quantize.json`."""
    parser = argparse.ArgumentParser(prog="python -m stages.quantize", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "quantize", QuantizeParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(1, params.seed)
    quiet()
    runtime = backend(device.backend)
    runtime.check(device)
    network = read_network(flags.model)
    flags.out.mkdir(parents=True, exist_ok=True)

    splits = {name: read_split(flags.data, name) for name in ("train", "val", "test")}
    info = DatasetInfo.read(flags.data)
    write_bytes(flags.out / f"{FLOAT32}.onnx", to_onnx(network, info.image_shape))
    lower(flags.out, runtime, splits["train"], info, params)
    subnet = judge_module(network, splits["test"], info)
    bench = bench_of(flags.device, device)
    latencies = measured(flags.out, flags.profile, flags.device, bench, runtime, params)
    candidates = judged(flags.out, runtime, subnet, splits, info, latencies, params)
    candidates[0].hop.require()  # whatever is delivered is made from this file
    offered, away = runtime.native_precisions, bench.why_not_measured
    chosen = choose(candidates, flags.device, device, offered, away)
    next(c for c in candidates if c.precision == chosen.precision).hop.require()
    write_json(
        flags.out / "quantize.json",
        QUANTIZE,
        {
            "chosen": chosen.precision,
            "reason": chosen.reason,
            "candidates": [candidate.to_json() for candidate in candidates],
            "hops": [candidate.hop.to_json() for candidate in candidates],
        },
    )


def read_network(folder: Path) -> Subnet:
    """The trained network that the stage `train` left in a folder."""
    text = (folder / "architecture.json").read_text(encoding="utf-8")
    network = Subnet(Architecture.from_json(json.loads(text)))
    load_into(network, folder / "model.safetensors")
    return network.eval()


def lower(
    folder: Path, runtime: Backend, train: Split, info: DatasetInfo, params: QuantizeParams
) -> None:
    """Write `PRECISION.onnx` beside `float32.onnx`, in the form the backend's family needs."""
    source = folder / f"{FLOAT32}.onnx"
    if "float16" in runtime.native_precisions:
        to_float16(source, folder / "float16.onnx")
    if "int8" in runtime.native_precisions:
        rng = np.random.default_rng(params.seed)
        images = calibration_images(train, info, params.calibration_images, rng)
        quantize_static(source, folder / "int8.onnx", images, runtime.activations)


def judged(
    folder: Path,
    runtime: Backend,
    subnet: Judged,
    splits: Mapping[str, Split],
    info: DatasetInfo,
    latencies: Mapping[str, Measurement],
    params: QuantizeParams,
) -> list[Candidate]:
    """Accuracy and identity hop of every precision's file, float32 first.

    The trained network is compared with the float32 file, and that file with each lower one; it
    is judged also for a runtime that does not offer it, as what the others are made from.
    """
    precisions = (FLOAT32, *(p for p in runtime.native_precisions if p != FLOAT32))
    found: list[Candidate] = []
    reference = subnet
    with Progress("judge precisions", len(precisions)) as progress:
        for number, precision in enumerate(precisions):
            model = folder / f"{precision}.onnx"
            test, val = (judge_onnx(model, splits[name], info) for name in ("test", "val"))
            exact = precision == FLOAT32
            hop = compare(
                "subnet" if exact else f"{FLOAT32} ONNX",
                f"{precision} ONNX",
                reference.logits_NK,
                test.logits_NK,
                np.asarray(splits["test"].labels_N),
                hop_limits(params, exact, reference),
            )
            if precision == FLOAT32:
                reference = test
            latency = latencies.get(precision)
            found.append(
                Candidate(
                    precision,
                    model.name,
                    test.accuracy,
                    val.accuracy,
                    1.0 if precision == FLOAT32 else hop.agreement,
                    latency.ms if latency else None,
                    latency.spread if latency else None,
                    model.stat().st_size,
                    hop,
                )
            )
            progress.update(number + 1, {"accuracy": test.accuracy})
    return found


def hop_limits(params: QuantizeParams, exact: bool, reference: Judged) -> Limits:
    """What a hop may cost: only rounding where the precision stays, more below it."""
    if exact:
        return Limits(params.max_difference, params.float32_agreement, params.float32_accuracy_drop)
    largest = scaled(params.lower_difference, reference.logits_NK)
    return Limits(largest, params.min_agreement, params.lower_accuracy_drop)


def measured(
    folder: Path,
    profile: Path,
    name: str,
    bench: Bench,
    runtime: Backend,
    params: QuantizeParams,
) -> dict[str, Measurement]:
    """Latency of every precision on the device's runtime; empty where it cannot be measured."""
    if bench.why_not_measured:
        return {}
    clock = Clock.read(profile)
    models = {str(p): folder / f"{p}.onnx" for p in runtime.native_precisions}
    protocol = Protocol(params.blocks, params.calls, params.max_spread)
    with Progress("measure precisions", len(models)) as progress:
        return clock.measure(name, bench, models, protocol, counted(progress))
