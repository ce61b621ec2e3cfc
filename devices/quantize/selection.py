"""Select the variant for a device: the fastest by measurement within the accuracy budget.

A lower precision is not always faster, so without measurements the runtime's default precision is
selected: float32, if the runtime supports it. Files of one precision differ only in their scales,
so between variants without a significant latency difference validation accuracy decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import UserError
from devices.device import Device
from devices.quantize.candidate import Candidate

_HIGHEST_FIRST = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Choice:
    """The selected candidate, and the reason as a sentence."""

    candidate: Candidate
    reason: str


def choose(
    candidates: Sequence[Candidate],
    name: str,
    device: Device,
    offered: Sequence[str],
    why_not_measured: str,
    same_speed: float = 0.0,
    notes: Sequence[str] = (),
) -> Choice:
    """Select the candidate to deliver.

    Args:
        candidates: float32 first, then the variants built from it.
        name: the device's name.
        device: its `precision` may fix the precision; `max_accuracy_drop` is the budget.
        offered: precisions that the backend can deliver, its default first.
        why_not_measured: why latency was not measured, or "" if it was.
        same_speed: latencies that differ by at most this share, or by the noise of either,
            count as equal.
        notes: phrases appended to the reason.

    Raises:
        UserError: every offered variant exceeds the accuracy budget.
    """
    allowed = offered if device.precision == "auto" else (device.precision,)
    rows = [c for c in candidates if c.precision in allowed]
    reasons = [rejection(c, candidates[0], device) for c in rows]
    fit = [c for c, reason in zip(rows, reasons, strict=True) if reason is None]
    tail = "".join(f"; {note}" for note in (*filter(None, reasons), *notes))
    prefix = "" if device.precision == "auto" else f"the device requires {device.precision}, and "
    if not fit:
        if not prefix:
            raise UserError(
                f"no precision of backend '{device.backend}' meets the accuracy limits of device "
                f"'{name}'{tail}. Raise devices.{name}.max_accuracy_drop or "
                "quantize.calibration_images, or use a search space that quantises better."
            )
        best = min(rows, key=lambda c: -c.val_accuracy)
        return Choice(
            best, f"{prefix}{best.variant.name} has the smallest loss of validation accuracy{tail}"
        )
    if why_not_measured:
        best = _default(fit, allowed)
        return Choice(best, prefix + _unmeasured(best, fit, name, why_not_measured, tail))
    best = _fastest(fit, same_speed)
    others = ", ".join(f"{c.variant.name} {ms(c):.3f} ms" for c in fit if c is not best)
    against = f" against {others}" if others else ", the only one within it"
    chosen = f"{prefix}{best.variant.name} is the fastest within the accuracy budget"
    if ms(best) > min(map(ms, fit)):
        chosen = f"{prefix}{best.variant.name} has the highest precision and accuracy of those not "
        chosen += "significantly slower than the fastest within the accuracy budget"
    return Choice(best, f"{chosen}: {ms(best):.3f} ms{against}{tail}")


def rejection(candidate: Candidate, reference: Candidate, device: Device) -> str | None:
    """Return why a candidate cannot be delivered; None if it can.

    Args:
        candidate: any variant.
        reference: the float32 candidate.
        device: its `max_accuracy_drop` is the budget.
    """
    name = candidate.variant.name
    drop = reference.val_accuracy - candidate.val_accuracy
    if drop > device.max_accuracy_drop:
        return (
            f"{name} loses {drop:.4f} of validation accuracy, more than "
            f"max_accuracy_drop {device.max_accuracy_drop:g}"
        )
    if not candidate.check.agrees:  # does not use the labels of the test split
        return (
            f"{name} agrees with {candidate.check.source} on only "
            f"{candidate.check.agreement:.3f} of the images"
        )
    return None


def ms(candidate: Candidate) -> float:
    """Return the measured latency in milliseconds."""
    assert candidate.latency_ms is not None  # callers handle unmeasured devices
    return candidate.latency_ms


def _fastest(fit: Sequence[Candidate], same_speed: float) -> Candidate:
    """Return the highest precision, then accuracy, among candidates as fast as the fastest.

    The tolerance of equality grows with the measurement noise.
    """
    first = min(fit, key=ms)

    def equal(other: Candidate) -> bool:
        noise = max(same_speed, first.noise, other.noise)
        return ms(other) <= ms(first) * (1 + noise)

    return min(
        filter(equal, fit),
        key=lambda c: (_HIGHEST_FIRST.index(c.precision), -c.val_accuracy, ms(c)),
    )


def _default(fit: Sequence[Candidate], offered: Sequence[str]) -> Candidate:
    """Return the most accurate variant of the first offered precision that meets the budget."""
    return min(fit, key=lambda c: (offered.index(c.precision), -c.val_accuracy))


def _unmeasured(best: Candidate, fit: Sequence[Candidate], name: str, why: str, tail: str) -> str:
    """Explain the default of an unmeasured device, and how to select another precision."""
    others = [p for p in dict.fromkeys(c.precision for c in fit) if p != best.precision]
    way_out = f"; set devices.{name}.precision to deliver {' or '.join(others)} instead"
    return (
        f"{best.variant.name} is delivered, as no other candidate is known to be faster on '{name}'"
        f"{way_out if others else ''}{tail}; latency was not measured: {why}"
    )
