"""Select the variant for a device: the fastest by measurement within the accuracy budget.

A lower precision is not always faster, so without measurements the runtime's default precision is
selected: float32, if the runtime supports it. Files of one precision differ only in their scales,
so between variants without a significant latency difference validation accuracy decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UserError
from devices.device import Device
from devices.quantize.result import Candidate
from models.nets.equivalence import EquivalenceCheck

_HIGHEST_FIRST = ("float32", "float16", "int8")


def rejection(name: str, lost: float, check: EquivalenceCheck, device: Device) -> str | None:
    """Return why a variant cannot be delivered; None if it can.

    `lost` is its loss of validation accuracy against float32; the labels of the test split, with
    which it was compared, are not used.
    """
    if lost > device.max_accuracy_drop:
        return (
            f"{name} loses {lost:.4f} of validation accuracy, more than "
            f"max_accuracy_drop {device.max_accuracy_drop:g}"
        )
    if not check.agrees:
        return f"{name} agrees with {check.source} on only {check.agreement:.3f} of the images"
    return None


def choose(
    candidates: Sequence[Candidate],
    name: str,
    device: Device,
    offered: Sequence[str],
    why_not_measured: str,
    same_speed: float = 0.0,
    notes: Sequence[str] = (),
) -> tuple[Candidate, str]:
    """Select the candidate to deliver; also returns the reason as a sentence.

    Args:
        candidates: float32 first, then the variants built from it.
        name: the device's name.
        device: its `precision` may fix the precision.
        offered: precisions that the backend can deliver, its default first.
        why_not_measured: why latency was not measured, or "" if it was.
        same_speed: latencies that differ by at most this share, or by the noise of either,
            count as equal.
        notes: phrases appended to the reason.

    Raises:
        UserError: every offered variant exceeds the accuracy budget.
    """
    auto = device.precision == "auto"
    allowed = offered if auto else (device.precision,)
    rows = [c for c in candidates if c.precision in allowed]
    fit = [c for c in rows if c.rejected is None]
    tail = "".join(f"; {note}" for note in (*(c.rejected for c in rows if c.rejected), *notes))
    prefix = "" if auto else f"the device requires {device.precision}, and "
    if not fit:
        if auto:
            raise UserError(
                f"no precision of backend '{device.backend}' meets the accuracy limits of device "
                f"'{name}'{tail}. Raise devices.{name}.max_accuracy_drop or "
                "quantize.calibration_images, or use a search space that quantises better."
            )
        best = max(rows, key=lambda c: c.val_accuracy)
        return best, f"{prefix}{best.name} has the smallest loss of validation accuracy{tail}"
    if why_not_measured:
        # The most accurate variant of the first offered precision.
        best = min(fit, key=lambda c: (allowed.index(c.precision), -c.val_accuracy))
        tail += f"; latency was not measured: {why_not_measured}"
        return best, f"{prefix}{_unmeasured(best, fit, name)}{tail}"
    best = _fastest(fit, same_speed)
    return best, f"{prefix}{_measured(best, fit)}{tail}"


def _fastest(fit: Sequence[Candidate], same_speed: float) -> Candidate:
    """Return the highest precision, then accuracy, among candidates as fast as the fastest.

    The tolerance of equality grows with the measurement noise.
    """
    first = min(fit, key=lambda c: c.ms)

    def equal(other: Candidate) -> bool:
        return other.ms <= first.ms * (1 + max(same_speed, first.noise, other.noise))

    return min(
        filter(equal, fit),
        key=lambda c: (_HIGHEST_FIRST.index(c.precision), -c.val_accuracy, c.ms),
    )


def _measured(best: Candidate, fit: Sequence[Candidate]) -> str:
    """Explain the choice of a measured device."""
    chosen = f"{best.name} is the fastest within the accuracy budget"
    if best.ms > min(c.ms for c in fit):
        chosen = (
            f"{best.name} has the highest precision and accuracy of those not significantly slower "
            "than the fastest within the accuracy budget"
        )
    others = ", ".join(f"{c.name} {c.ms:.3f} ms" for c in fit if c is not best)
    against = f" against {others}" if others else ", the only one within it"
    return f"{chosen}: {best.ms:.3f} ms{against}"


def _unmeasured(best: Candidate, fit: Sequence[Candidate], name: str) -> str:
    """Explain the default of an unmeasured device, and how to select another precision."""
    others = [p for p in dict.fromkeys(c.precision for c in fit) if p != best.precision]
    way_out = f"; set devices.{name}.precision to deliver {' or '.join(others)} instead"
    return (
        f"{best.name} is delivered, as no other candidate is known to be faster on '{name}'"
        f"{way_out if others else ''}"
    )
