"""Which precision a device gets: the fastest that keeps the accuracy, as measured.

A lower precision is not always faster, so where nobody measured the answer is the runtime's first:
float32, unless the runtime has no such arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devices.device import Device
from stages.common.files import rounded
from stages.common.hops import Hop

FLOAT32 = "float32"


class ChoiceError(ValueError):
    """No precision that a runtime offers keeps the accuracy; the message has the way out."""


@dataclass(frozen=True)
class Candidate:
    """One precision of the network, and what is known of it.

    Attributes:
        precision: `float32`, `float16` or `int8`.
        file: name of its ONNX file.
        accuracy: top-1 on the test split; only reported, never used to choose.
        val_accuracy: top-1 on the validation split.
        agreement: share of test images on which it predicts what float32 does.
        latency_ms: measured median per image, None where the device cannot be measured here.
        spread: relative spread of that measurement.
        size_bytes: size of the ONNX file.
        hop: how it compares with the form it was made from.
    """

    precision: str
    file: str
    accuracy: float
    val_accuracy: float
    agreement: float
    latency_ms: float | None
    spread: float | None
    size_bytes: int
    hop: Hop

    def to_json(self) -> dict[str, Any]:
        """Plain values for `quantize.json`."""
        return {
            "precision": self.precision,
            "file": self.file,
            "accuracy": rounded(self.accuracy),
            "val_accuracy": rounded(self.val_accuracy),
            "agreement": rounded(self.agreement),
            "latency_ms": rounded(self.latency_ms),
            "spread": rounded(self.spread),
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True)
class Choice:
    """The precision to deliver, and why, as a sentence."""

    precision: str
    reason: str


def choose(
    candidates: Sequence[Candidate],
    name: str,
    device: Device,
    offered: Sequence[str],
    why_not_measured: str,
) -> Choice:
    """Choose the precision to deliver.

    Args:
        candidates: float32 first, then what the backend offers below it.
        name: the device's name.
        device: its `precision` may fix the answer; `max_accuracy_drop` is the budget.
        offered: what the backend can deliver, its default first.
        why_not_measured: why no latency is known, or "" where it was measured.

    Raises:
        HopError: the device asks for a precision in which the network is not itself any more.
        ChoiceError: every precision that is offered loses too much.
    """
    if device.precision != "auto":
        fixed = next(c for c in candidates if c.precision == device.precision)
        fixed.hop.require()
        return Choice(fixed.precision, f"the device asks for {fixed.precision}")
    rows = sorted(
        (c for c in candidates if c.precision in offered),
        key=lambda c: offered.index(c.precision),
    )
    rejected = [_rejection(c, candidates[0], device) for c in rows]
    fit = [c for c, reason in zip(rows, rejected, strict=True) if reason is None]
    if not fit:
        raise ChoiceError(
            f"no precision of '{device.backend}' keeps the network for '{name}': "
            f"{'; '.join(filter(None, rejected))}. Raise devices.{name}.max_accuracy_drop or "
            "quantize.calibration_images, or use a space that quantises better."
        )
    notes = "".join(f"; {reason}" for reason in rejected if reason is not None)
    if why_not_measured:
        return Choice(fit[0].precision, _unmeasured(fit, name, why_not_measured, notes))
    # Stable: where two are equally fast, the higher precision, which stands first, is kept.
    best = min(fit, key=lambda c: _measured(c))
    beaten = [f"{c.precision} {_measured(c):.3f} ms" for c in fit if c is not best]
    against = f" against {', '.join(beaten)}" if beaten else ", the only one within it"
    return Choice(
        best.precision,
        f"{best.precision} is the fastest within the accuracy budget: "
        f"{_measured(best):.3f} ms{against}{notes}",
    )


def _unmeasured(fit: Sequence[Candidate], name: str, why: str, notes: str) -> str:
    """Why an unmeasured device gets the default, and how its owner gets another precision."""
    given, *others = [c.precision for c in fit]
    way_out = f"; set devices.{name}.precision to deliver {' or '.join(others)} instead"
    return (
        f"{given} is delivered, as no other precision is known to be faster on '{name}'"
        f"{way_out if others else ''}{notes}; latency was not measured: {why}"
    )


def _rejection(candidate: Candidate, reference: Candidate, device: Device) -> str | None:
    drop = reference.val_accuracy - candidate.val_accuracy
    if drop > device.max_accuracy_drop:
        return (
            f"{candidate.precision} loses {drop:.4f} of validation accuracy, more than "
            f"max_accuracy_drop {device.max_accuracy_drop:g}"
        )
    if not candidate.hop.agrees:  # without a look at the test split's labels
        return (
            f"{candidate.precision} agrees with {candidate.hop.source} on only "
            f"{candidate.hop.agreement:.3f} of the images"
        )
    return None


def _measured(candidate: Candidate) -> float:
    assert candidate.latency_ms is not None  # the caller says why when nothing was measured
    return candidate.latency_ms
