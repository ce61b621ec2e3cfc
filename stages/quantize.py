"""Build ONNX variants of a trained network and select the one to deliver.

Variants are built in order of compute cost: every calibration method; mixed int8 and float if
none of those meets the accuracy budget; int8 of a fine-tuned network if that fails too. All are
evaluated on the same images; latency is measured on the device for those that could be delivered
and for float32.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.files import fingerprint, read_json, write_bytes, write_json
from core.process import prepare_machine
from core.progress import Progress, count_steps
from core.schemas import LATENCY, QUANTIZE
from core.settings import read_section
from data.dataset import DatasetInfo, read_split
from devices.device import Device
from devices.fleet.read import pick_device
from devices.measure.interleaved import Protocol
from devices.measure.reference import LatencyReference
from devices.measure.target import Target, open_target
from devices.quantize.candidate import FLOAT32, NO_METHOD, Candidate, Variant
from devices.quantize.evaluate import evaluate_module
from devices.quantize.finetune import Finetuned, build_finetuned
from devices.quantize.mixed import Mixed, build_mixed
from devices.quantize.selection import Choice, choose, rejection
from devices.quantize.settings import QuantizeParams, When
from devices.quantize.static import Calibrated
from devices.quantize.variants import Work, build_float16, build_int8, calibrate_variant, evaluate
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.nets.weights import load_into
from models.space.architecture import Architecture


def main() -> None:
    """Parse the flags, read the network and the data, write the ONNX files and `quantize.json`."""
    parser = argparse.ArgumentParser(prog="python -m stages quantize", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "quantize", QuantizeParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(params.threads, params.seed)
    runtime = backend(device.backend)
    runtime.check(device)
    network = read_network(flags.model)
    clear_folder(flags.out)

    splits = {name: read_split(flags.data, name) for name in ("train", "val", "test")}
    machine = read_json(flags.profile / "latency.json", LATENCY).get("machine")
    bits = runtime.for_unit(device.openvino_device).weight_bits(machine)
    work = Work(flags.out, runtime, splits, DatasetInfo.read(flags.data), params, bits)
    work.logits[None] = evaluate_module(network, splits["test"], work.info).logits_NK
    inputs = inputs_fingerprint("quantize", params.finetune, flags.data, flags.model)
    checkpoint = Checkpoint(flags.out, fingerprint(inputs, runtime.activations, bits))
    found = build_variants(work, network, device, checkpoint)
    target = open_target(flags.device, device)
    candidates = measure(work, found.candidates, device, target, flags.profile, flags.device)
    chosen = choose(
        candidates,
        flags.device,
        device,
        runtime.native_precisions,
        target.why_not_measured,
        params.same_speed,
        found.notes,
    )
    chosen.candidate.check.require()
    content = describe(found, candidates, chosen, work, device)
    write_json(flags.out / "quantize.json", QUANTIZE, content)
    checkpoint.clear()


def clear_folder(folder: Path) -> None:
    """Create the folder and delete files left by an interrupted run."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (folder / "quantize.json", *folder.glob("*.onnx"), *folder.glob(".*.tmp")):
        file.unlink(missing_ok=True)


def read_network(folder: Path) -> Subnet:
    """Load the trained network from the output folder of the stage `train`."""
    text = (folder / "architecture.json").read_text(encoding="utf-8")
    network = Subnet(Architecture.from_json(json.loads(text)))
    load_into(network, folder / "model.safetensors")
    return network.eval()


@dataclass
class Variants:
    """Variants built from the network.

    Attributes:
        candidates: the evaluated variants; float32 first.
        mixed: search result of the mixed variant, if one was built.
        finetuned: the fine-tuned network, if any.
        notes: phrases on variants that were skipped or failed.
    """

    candidates: list[Candidate]
    mixed: Mixed | None = None
    finetuned: Finetuned | None = None
    notes: list[str] = field(default_factory=list)


def build_variants(work: Work, network: Subnet, device: Device, checkpoint: Checkpoint) -> Variants:
    """Build and evaluate all variants of the network.

    float32 is always evaluated, because the other variants are built from it.
    """
    source = Variant(FLOAT32, FLOAT32, NO_METHOD, None)
    write_bytes(work.path(source), to_onnx(network, work.info.image_shape))
    found = Variants(evaluate(work, [source]))
    found.candidates[0].check.require()  # all other variants are built from it
    found.candidates += evaluate(work, build_float16(work, source))
    calibrated = calibrate_variant(work, source)
    if calibrated is None:
        return found
    found.candidates += evaluate(work, build_int8(work, source, calibrated))
    if should_build(work.params.mixed, found.candidates, device):
        add_mixed(work, found, calibrated, device)
    if should_build(work.params.finetune.when, found.candidates, device):
        found.finetuned = build_finetuned(work, network, checkpoint)
        found.candidates += evaluate(work, found.finetuned.variants)
    return found


def should_build(when: When, candidates: Sequence[Candidate], device: Device) -> bool:
    """Return whether to build the next, more expensive int8 variant.

    Args:
        when: the param; `needed` means that int8 is allowed and no int8 variant meets the
            accuracy budget.
        candidates: variants built so far, float32 first.
        device: the device.
    """
    if when != "needed":
        return when == "always"
    whole = [c for c in candidates if c.precision == "int8"]
    kept = any(rejection(c, candidates[0], device) is None for c in whole)
    return device.precision in ("auto", "int8") and not kept


def add_mixed(work: Work, found: Variants, calibrated: Calibrated, device: Device) -> None:
    """Add the mixed variant of the most accurate int8 one, or a note why it was skipped."""
    why_not = work.runtime.why_not_mixed(device)
    if why_not:
        found.notes.append(f"int8 with layers in float is not offered: {why_not.rstrip('.')}")
        return
    base = min(
        (c for c in found.candidates if c.precision == "int8"), key=lambda c: -c.val_accuracy
    )
    least = found.candidates[0].val_accuracy - device.max_accuracy_drop
    found.mixed = build_mixed(work, base, calibrated, least)
    found.candidates += evaluate(work, [found.mixed.variant])
    if not found.mixed.kept:
        layers = f"{len(found.mixed.variant.in_float)} of {len(calibrated.layers)} layers"
        why = f"int8 loses too much with {layers} in float, too (quantize.max_float_share)"
        found.notes.append(why)


def measure(
    work: Work,
    candidates: Sequence[Candidate],
    device: Device,
    target: Target,
    profile: Path,
    name: str,
) -> list[Candidate]:
    """Measure the candidates' latency on the device's runtime.

    Measures float32, if the runtime supports it, and the candidates within the accuracy budget.
    If no variant of the precision requested by the device is within the budget, all of them are
    measured, because the most accurate one is delivered anyway.
    """
    if target.why_not_measured:
        return list(candidates)
    offered = [c for c in candidates if c.precision in work.runtime.native_precisions]
    requested = [c for c in offered if c.precision == device.precision]
    allowed = [c for c in offered if rejection(c, candidates[0], device) is None]
    chosen = {c.variant.name for c in offered if c in allowed or c is candidates[0]}
    if not any(c in allowed for c in requested):
        chosen |= {c.variant.name for c in requested}
    models = {c.variant.name: work.path(c.variant) for c in offered if c.variant.name in chosen}
    params = work.params
    protocol = Protocol(params.blocks, params.calls, params.max_interval, params.time_limit_s)
    with Progress("measure variants", len(models)) as progress:
        reference = LatencyReference.read(profile)
        found = reference.measure(name, target, models, protocol, count_steps(progress))
    return [
        c.with_latency(found[c.variant.name]) if c.variant.name in found else c for c in candidates
    ]


def describe(
    found: Variants, candidates: Sequence[Candidate], chosen: Choice, work: Work, device: Device
) -> dict[str, Any]:
    """Return the content of `quantize.json`."""
    variant = chosen.candidate.variant
    return {
        "chosen": variant.precision,
        "name": variant.name,
        "file": variant.file,
        "reason": chosen.reason,
        "weight_bits": work.weight_bits if variant.precision == "int8" else None,
        "candidates": [c.to_json(rejection(c, candidates[0], device)) for c in candidates],
        "mixed": None if found.mixed is None else found.mixed.to_json(),
        "finetuned": None if found.finetuned is None else found.finetuned.to_json(),
        "hops": [candidate.check.to_json() for candidate in candidates],
    }
