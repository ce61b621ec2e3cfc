"""Build the precision candidates of a trained network, measure them, and choose one.

Candidates are built in order of compute cost: every calibration method; mixed int8 and float if
none of those meets the accuracy budget; int8 of a fine-tuned network if that fails too. All are
evaluated on the same images; latency is measured on the device for those that could be delivered
and for float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core.checkpoint import Checkpoint
from core.files import write_bytes
from core.progress import Progress, count_steps
from devices.measure.reference import LatencyReference
from devices.quantize.finetune import build_finetuned
from devices.quantize.mixed import build_mixed
from devices.quantize.result import (
    FLOAT32,
    NO_METHOD,
    FinetunedResult,
    MixedResult,
    QuantizeResult,
    Variant,
)
from devices.quantize.selection import choose
from devices.quantize.settings import When
from devices.quantize.static import Calibrated
from devices.quantize.variants import Work, build_float16, build_int8, calibrate_variant, evaluate
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet


@dataclass
class Built:
    """How the more expensive candidates were built, if they were.

    Attributes:
        mixed: search for the mixed variant.
        finetuned: fine-tuning.
        notes: phrases on variants that were skipped or failed.
    """

    mixed: MixedResult | None = None
    finetuned: FinetunedResult | None = None
    notes: list[str] = field(default_factory=list)


def build_candidates(work: Work, network: Subnet, checkpoint: Checkpoint) -> Built:
    """Build and evaluate all candidates of the network.

    float32 is always evaluated, because the other variants are built from it.
    """
    source, built = Variant(name=FLOAT32, precision=FLOAT32, method=NO_METHOD), Built()
    write_bytes(work.path(source), to_onnx(network, work.info.image_shape))
    evaluate(work, [source])
    work.checks[FLOAT32].require()
    evaluate(work, build_float16(work, source))
    calibrated = calibrate_variant(work, source)
    if calibrated is None:
        return built
    evaluate(work, build_int8(work, source, calibrated))
    if should_build(work, work.params.mixed):
        add_mixed(work, built, calibrated)
    if should_build(work, work.params.finetune.when):
        variants, built.finetuned = build_finetuned(work, network, checkpoint)
        evaluate(work, variants)
    return built


def should_build(work: Work, when: When) -> bool:
    """Return whether to build the next, more expensive int8 variant."""
    if when != "needed":
        return when == "always"
    kept = any(candidate.rejected is None for candidate in work.int8())
    return work.target.device.precision in ("auto", "int8") and not kept


def add_mixed(work: Work, built: Built, calibrated: Calibrated) -> None:
    """Add the mixed variant of the most accurate int8 one, or a note why it was skipped."""
    why_not = work.target.backend.why_not_mixed(work.target.device)
    if why_not:
        built.notes.append(f"int8 with layers in float is not offered: {why_not.rstrip('.')}")
        return
    base = max(work.int8(), key=lambda candidate: candidate.val_accuracy)
    least = work.candidates[FLOAT32].val_accuracy - work.target.device.max_accuracy_drop
    variant, built.mixed = build_mixed(work, base, calibrated, least)
    evaluate(work, [variant])
    if not built.mixed.kept:
        layers = f"{len(variant.in_float)} of {len(calibrated.layers)} layers"
        why = f"int8 loses too much with {layers} in float, too (quantize.max_float_share)"
        built.notes.append(why)


def measure_candidates(work: Work, profile: Path) -> None:
    """Measure the candidates' latency on the device's runtime.

    Measures float32, if the runtime supports it, and the candidates within the accuracy budget.
    If no variant of the precision requested by the device is within the budget, all of them are
    measured, because the most accurate one is delivered anyway.
    """
    if work.target.why_not_measured:
        return
    rows = work.candidates.values()
    offered = [c for c in rows if c.precision in work.target.backend.native_precisions]
    requested = [c for c in offered if c.precision == work.target.device.precision]
    chosen = {c.name for c in offered if c.rejected is None or c.name == FLOAT32}
    if all(c.rejected is not None for c in requested):
        chosen |= {c.name for c in requested}
    models = {c.name: work.path(c) for c in offered if c.name in chosen}
    with Progress("measure variants", len(models)) as progress:
        reference, protocol = LatencyReference.read(profile), work.params.protocol
        found = reference.measure(work.target, models, protocol, count_steps(progress))
    for key, row in found.items():
        update = {"latency_ms": row.ms, "spread": row.spread, "interval": row.interval}
        work.candidates[key] = work.candidates[key].model_copy(update=update)


def choose_candidate(work: Work, built: Built, profile: Path) -> QuantizeResult:
    """Measure the candidates, against the reference in `profile`, and choose the one to deliver.

    Raises:
        EquivalenceError: the chosen candidate is not equivalent to its source.
    """
    measure_candidates(work, profile)
    candidates = tuple(work.candidates.values())
    chosen, reason = choose(
        candidates,
        work.target.name,
        work.target.device,
        work.target.backend.native_precisions,
        work.target.why_not_measured,
        work.params.same_speed,
        built.notes,
    )
    work.checks[chosen.name].require()
    return QuantizeResult(
        precision=chosen.precision,
        name=chosen.name,
        file=chosen.file,
        reason=reason,
        weight_bits=work.weight_bits if chosen.precision == "int8" else None,
        candidates=candidates,
        mixed=built.mixed,
        finetuned=built.finetuned,
        checks=tuple(work.checks.values()),
    )
