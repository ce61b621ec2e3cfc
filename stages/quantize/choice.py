"""Which form of the network a device gets: the fastest that keeps the accuracy, as measured.

A lower precision is not always faster, so where nobody measured the answer is the runtime's first
precision: float32, unless the runtime has no such arithmetic. Files of one precision differ in
their scales alone, so between forms that are equally fast validation accuracy decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.device import Device
from stages.quantize.candidate import Candidate

_HIGHEST_FIRST = ("float32", "float16", "int8")


class ChoiceError(ValueError):
    """No form that a runtime offers keeps the accuracy; the message has the way out."""


@dataclass(frozen=True)
class Choice:
    """The candidate to deliver, and why, as a sentence."""

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
    """Choose what to deliver.

    Args:
        candidates: float32 first, then what was made from it.
        name: the device's name.
        device: its `precision` may fix the answer; `max_accuracy_drop` is the budget.
        offered: what the backend can deliver, its default first.
        why_not_measured: why no latency is known, or "" where it was measured.
        same_speed: latencies that differ by at most this share, or by the noise of either,
            count as equal.
        notes: what else the reason should say, as phrases.

    Raises:
        ChoiceError: every form that is offered loses too much.
    """
    wanted = offered if device.precision == "auto" else (device.precision,)
    rows = [c for c in candidates if c.precision in wanted]
    reasons = [rejection(c, candidates[0], device) for c in rows]
    fit = [c for c, reason in zip(rows, reasons, strict=True) if reason is None]
    tail = "".join(f"; {note}" for note in (*filter(None, reasons), *notes))
    asked = "" if device.precision == "auto" else f"the device asks for {device.precision}, and "
    if not fit:
        if not asked:
            raise ChoiceError(
                f"no precision of '{device.backend}' keeps the network for '{name}'{tail}. Raise "
                f"devices.{name}.max_accuracy_drop or quantize.calibration_images, or use a space "
                "that quantises better."
            )
        best = min(rows, key=lambda c: -c.val_accuracy)
        return Choice(best, f"{asked}{best.form.name} loses least of what it can be{tail}")
    if why_not_measured:
        best = _default(fit, wanted)
        return Choice(best, asked + _unmeasured(best, fit, name, why_not_measured, tail))
    best = _fastest(fit, same_speed)
    others = ", ".join(f"{c.form.name} {ms(c):.3f} ms" for c in fit if c is not best)
    against = f" against {others}" if others else ", the only one within it"
    chosen = f"{asked}{best.form.name} is the fastest within the accuracy budget"
    if ms(best) > min(map(ms, fit)):
        chosen = f"{asked}{best.form.name} is as fast as any within the accuracy budget and loses "
        chosen += "no precision or accuracy to them"
    return Choice(best, f"{chosen}: {ms(best):.3f} ms{against}{tail}")


def rejection(candidate: Candidate, reference: Candidate, device: Device) -> str | None:
    """Why a candidate cannot be delivered; None if it can.

    Args:
        candidate: any form.
        reference: float32, whose accuracy counts.
        device: its `max_accuracy_drop` is the budget.
    """
    name = candidate.form.name
    drop = reference.val_accuracy - candidate.val_accuracy
    if drop > device.max_accuracy_drop:
        return (
            f"{name} loses {drop:.4f} of validation accuracy, more than "
            f"max_accuracy_drop {device.max_accuracy_drop:g}"
        )
    if not candidate.hop.agrees:  # without a look at the test split's labels
        return (
            f"{name} agrees with {candidate.hop.source} on only "
            f"{candidate.hop.agreement:.3f} of the images"
        )
    return None


def ms(candidate: Candidate) -> float:
    """Its measured latency."""
    assert candidate.latency_ms is not None  # the caller says why when nothing was measured
    return candidate.latency_ms


def _fastest(fit: Sequence[Candidate], same_speed: float) -> Candidate:
    """Of those as fast as the fastest the highest precision, then the highest accuracy.

    A noisy measurement tells less apart, so its noise widens what counts as equal.
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
    """The runtime's first precision that keeps the accuracy, in its most accurate form."""
    return min(fit, key=lambda c: (offered.index(c.precision), -c.val_accuracy))


def _unmeasured(best: Candidate, fit: Sequence[Candidate], name: str, why: str, tail: str) -> str:
    """Why an unmeasured device gets the default, and how its owner gets another precision."""
    others = [p for p in dict.fromkeys(c.precision for c in fit) if p != best.precision]
    way_out = f"; set devices.{name}.precision to deliver {' or '.join(others)} instead"
    return (
        f"{best.form.name} is delivered, as no other form is known to be faster on '{name}'"
        f"{way_out if others else ''}{tail}; latency was not measured: {why}"
    )
