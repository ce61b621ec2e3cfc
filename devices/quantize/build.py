"""Build the precision candidates of a trained network, measure them, and choose one.

Candidates are built in order of compute cost: every calibration method; mixed int8 and float if
none of those meets the accuracy budget; int8 of a fine-tuned network if that fails too. All are
evaluated on the same images; latency is measured on the device for those that could be delivered
and for float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.checkpoint import Checkpoint
from core.files import write_bytes
from core.progress import Progress, count_steps
from devices.device import Device
from devices.measure.reference import LatencyReference
from devices.measure.target import Target
from devices.quantize.candidate import FLOAT32, NO_METHOD, Candidate, Variant
from devices.quantize.finetune import Finetuned, build_finetuned
from devices.quantize.mixed import Mixed, build_mixed
from devices.quantize.result import QuantizeResult
from devices.quantize.selection import choose, rejection
from devices.quantize.settings import When
from devices.quantize.static import Calibrated
from devices.quantize.variants import Work, build_float16, build_int8, calibrate_variant, evaluate
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet


@dataclass
class Built:
    """Candidates built from the network.

    Attributes:
        candidates: float32 first.
        mixed: search result of the mixed variant, if one was built.
        finetuned: the fine-tuned network, if any.
        notes: phrases on variants that were skipped or failed.
    """

    candidates: list[Candidate]
    mixed: Mixed | None = None
    finetuned: Finetuned | None = None
    notes: list[str] = field(default_factory=list)


def build_candidates(work: Work, network: Subnet, device: Device, checkpoint: Checkpoint) -> Built:
    """Build and evaluate all candidates of the network.

    float32 is always evaluated, because the other variants are built from it.
    """
    source = Variant(FLOAT32, FLOAT32, NO_METHOD, None)
    write_bytes(work.path(source), to_onnx(network, work.info.image_shape))
    found = Built(evaluate(work, [source]))
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


def add_mixed(work: Work, found: Built, calibrated: Calibrated, device: Device) -> None:
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


def measure_candidates(
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
    with Progress("measure variants", len(models)) as progress:
        reference = LatencyReference.read(profile)
        found = reference.measure(target, models, work.params.protocol, count_steps(progress))
    return [
        c.with_latency(found[c.variant.name]) if c.variant.name in found else c for c in candidates
    ]


def choose_candidate(
    work: Work,
    built: Built,
    name: str,
    device: Device,
    target: Target,
    profile: Path,
) -> QuantizeResult:
    """Measure the candidates and choose the one to deliver.

    Args:
        work: shared inputs of the stage.
        built: the evaluated candidates.
        name: the device's name.
        device: its settings.
        target: its execution target.
        profile: output folder of the stage `profile`, with the reference network.

    Raises:
        EquivalenceError: the chosen candidate is not equivalent to its source.
    """
    candidates = measure_candidates(work, built.candidates, device, target, profile, name)
    chosen = choose(
        candidates,
        name,
        device,
        work.runtime.native_precisions,
        target.why_not_measured,
        work.params.same_speed,
        built.notes,
    )
    chosen.candidate.check.require()
    variant = chosen.candidate.variant
    return QuantizeResult(
        precision=variant.precision,
        name=variant.name,
        file=variant.file,
        reason=chosen.reason,
        weight_bits=work.weight_bits if variant.precision == "int8" else None,
        candidates=tuple(c.result(rejection(c, candidates[0], device)) for c in candidates),
        mixed=None if built.mixed is None else built.mixed.result(),
        finetuned=None if built.finetuned is None else built.finetuned.result(),
        checks=tuple(candidate.check for candidate in candidates),
    )
