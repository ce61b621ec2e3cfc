"""From a trained network to ONNX files in several forms, and the one to deliver.

Forms are made in the order of what they cost: every calibration method first; int8 with some
layers in float where none of those keeps the accuracy; int8 of a fine-tuned network where that
does not keep it either. All are judged by the same images; those that could be delivered, and
float32 beside them, are measured on the device.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.dataset import DatasetInfo, read_split
from devices.agent.quiet import quiet
from devices.backends import backend
from devices.bench import Bench, bench_of
from devices.device import Device
from devices.measure import Protocol
from devices.quantization import Calibrated
from models.architecture import Architecture
from models.onnx_export import to_onnx
from models.subnet import Subnet
from models.weights import load_into
from stages.common.checkpoint import Checkpoint
from stages.common.clock import Clock
from stages.common.devices import pick_device
from stages.common.files import fingerprint, read_json, write_bytes, write_json
from stages.common.learning import inputs_fingerprint
from stages.common.params import read_section
from stages.common.progress import Progress, counted
from stages.common.runtime import prepare_machine
from stages.common.schemas import LATENCY, QUANTIZE
from stages.quantize.candidate import FLOAT32, NO_METHOD, Candidate, Form
from stages.quantize.choice import Choice, choose, rejection
from stages.quantize.evaluate import judge_module
from stages.quantize.finetune import Finetuned, finetuned
from stages.quantize.forms import Work, calibrated, halved, judged, quantised
from stages.quantize.mixed import Mixed, mix
from stages.quantize.params import QuantizeParams, When


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
    prepare_machine(params.finetune.threads, params.seed)
    quiet()
    runtime = backend(device.backend)
    runtime.check(device)
    network = read_network(flags.model)
    empty(flags.out)

    splits = {name: read_split(flags.data, name) for name in ("train", "val", "test")}
    machine = read_json(flags.profile / "latency.json", LATENCY).get("machine")
    bits = runtime.on(device.openvino_device).weight_bits(machine)
    work = Work(flags.out, runtime, splits, DatasetInfo.read(flags.data), params, bits)
    work.logits[None] = judge_module(network, splits["test"], work.info).logits_NK
    inputs = inputs_fingerprint("quantize", params.finetune, flags.data, flags.model)
    checkpoint = Checkpoint(flags.out, fingerprint(inputs, runtime.activations, bits))
    found = everything(work, network, device, checkpoint)
    bench = bench_of(flags.device, device)
    candidates = measured(work, found.candidates, device, bench, flags.profile, flags.device)
    chosen = choose(
        candidates,
        flags.device,
        device,
        runtime.native_precisions,
        bench.why_not_measured,
        params.same_speed,
        found.notes,
    )
    chosen.candidate.hop.require()
    content = describe(found, candidates, chosen, work, device)
    write_json(flags.out / "quantize.json", QUANTIZE, content)
    checkpoint.clear()


def empty(folder: Path) -> None:
    """Make the folder, without the files of a run that was stopped: they would look like ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (folder / "quantize.json", *folder.glob("*.onnx"), *folder.glob(".*.tmp")):
        file.unlink(missing_ok=True)


def read_network(folder: Path) -> Subnet:
    """The trained network that the stage `train` left in a folder."""
    text = (folder / "architecture.json").read_text(encoding="utf-8")
    network = Subnet(Architecture.from_json(json.loads(text)))
    load_into(network, folder / "model.safetensors")
    return network.eval()


@dataclass
class Found:
    """What was made of the network.

    Attributes:
        candidates: its forms, judged; float32 first.
        mixed: how the mixed one among them was found, if there is one.
        finetuned: the network that learned for int8, if one did.
        notes: what was left out or did not do, as phrases.
    """

    candidates: list[Candidate]
    mixed: Mixed | None = None
    finetuned: Finetuned | None = None
    notes: list[str] = field(default_factory=list)


def everything(work: Work, network: Subnet, device: Device, checkpoint: Checkpoint) -> Found:
    """All forms of the network, built and judged.

    float32 is judged also for a runtime that does not offer it, as what the others are made from.
    """
    source = Form(FLOAT32, FLOAT32, NO_METHOD, None)
    write_bytes(work.path(source), to_onnx(network, work.info.image_shape))
    found = Found(judged(work, [source]))
    found.candidates[0].hop.require()  # whatever is delivered is made from this file
    found.candidates += judged(work, halved(work, source))
    ready = calibrated(work, source)
    if ready is None:
        return found
    found.candidates += judged(work, quantised(work, source, ready))
    if asked(work.params.mixed, found.candidates, device):
        add_mixed(work, found, ready, device)
    if asked(work.params.finetune.when, found.candidates, device):
        found.finetuned = finetuned(work, network, checkpoint)
        found.candidates += judged(work, found.finetuned.forms)
    return found


def asked(when: When, candidates: Sequence[Candidate], device: Device) -> bool:
    """Whether the next dearer way to int8 is to be tried.

    Args:
        when: what params say; `needed` is where the device may get int8 and no form of it keeps
            the accuracy.
        candidates: what was made so far, float32 first.
        device: the device.
    """
    if when != "needed":
        return when == "always"
    whole = [c for c in candidates if c.precision == "int8"]
    kept = any(rejection(c, candidates[0], device) is None for c in whole)
    return device.precision in ("auto", "int8") and not kept


def add_mixed(work: Work, found: Found, ready: Calibrated, device: Device) -> None:
    """Add the mixed form of the most accurate int8 one, or why there is none."""
    why_not = work.runtime.why_not_mixed(device)
    if why_not:
        found.notes.append(f"int8 with layers in float is not offered: {why_not.rstrip('.')}")
        return
    base = min(
        (c for c in found.candidates if c.precision == "int8"), key=lambda c: -c.val_accuracy
    )
    least = found.candidates[0].val_accuracy - device.max_accuracy_drop
    found.mixed = mix(work, base, ready, least)
    found.candidates += judged(work, [found.mixed.form])
    if not found.mixed.kept:
        layers = f"{len(found.mixed.form.in_float)} of {len(ready.layers)} layers"
        why = f"int8 loses too much with {layers} in float, too (quantize.max_float_share)"
        found.notes.append(why)


def measured(
    work: Work,
    candidates: Sequence[Candidate],
    device: Device,
    bench: Bench,
    profile: Path,
    name: str,
) -> list[Candidate]:
    """The candidates with their latency on the device's runtime.

    Measured are float32, where the runtime offers it, and what the accuracy allows to deliver: a
    rejected form's speed changes nothing. Where the device asks for a precision none of whose
    forms is allowed, that one delivers the most accurate of them, and all of them are measured.
    """
    if bench.why_not_measured:
        return list(candidates)
    offered = [c for c in candidates if c.precision in work.runtime.native_precisions]
    asked = [c for c in offered if c.precision == device.precision]
    allowed = [c for c in offered if rejection(c, candidates[0], device) is None]
    chosen = {c.form.name for c in allowed} | {c.form.name for c in offered if c is candidates[0]}
    if not any(c in allowed for c in asked):
        chosen |= {c.form.name for c in asked}
    models = {c.form.name: work.path(c.form) for c in offered if c.form.name in chosen}
    params = work.params
    protocol = Protocol(params.blocks, params.calls, params.max_interval, params.time_limit_s)
    with Progress("measure forms", len(models)) as progress:
        found = Clock.read(profile).measure(name, bench, models, protocol, counted(progress))
    return [c.timed(found[c.form.name]) if c.form.name in found else c for c in candidates]


def describe(
    found: Found, candidates: Sequence[Candidate], chosen: Choice, work: Work, device: Device
) -> dict[str, Any]:
    """The content of `quantize.json`."""
    form = chosen.candidate.form
    return {
        "chosen": form.precision,
        "name": form.name,
        "file": form.file,
        "reason": chosen.reason,
        "weight_bits": work.weight_bits if form.precision == "int8" else None,
        "candidates": [c.to_json(rejection(c, candidates[0], device)) for c in candidates],
        "mixed": None if found.mixed is None else found.mixed.to_json(),
        "finetuned": None if found.finetuned is None else found.finetuned.to_json(),
        "hops": [candidate.hop.to_json() for candidate in candidates],
    }
