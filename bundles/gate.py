"""Quality gate: check a bundle against its device's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bundles.manifest import Manifest

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Verdict:
    """Result of the gate.

    Attributes:
        passed: no limit that could be checked is exceeded.
        reasons: sentences on exceeded limits, then on undecided and unmeasured ones.
        kept: sentences on limits that are met.
        undecided: the reasons whose limit lies within the measurement's interval.
    """

    passed: bool
    reasons: tuple[str, ...]
    kept: tuple[str, ...]
    undecided: tuple[str, ...] = ()


def check_limits(manifest: Manifest, size_bytes: int) -> Verdict:
    """Check a bundle's recorded numbers against its device's limits.

    Args:
        manifest: with accuracy, latency, costs, and the device's limits.
        size_bytes: size of the whole archive.
    """
    budget, latency, costs = manifest.device.budget, manifest.latency_ms, manifest.costs
    broken: list[str] = []
    kept: list[str] = []
    undecided: list[str] = []

    accuracy, least = manifest.accuracy.delivered, manifest.device.min_accuracy
    if accuracy >= least:
        kept.append(f"accuracy {accuracy:.4f} reaches the required {least:g}")
    else:
        broken.append(f"accuracy {accuracy:.4f} is below the required {least:g}")
    limits = (
        ("FLOPs", costs.flops, budget.flops, ""),
        ("parameters", costs.parameters, budget.parameters, ""),
        ("size", size_bytes / MEGABYTE, budget.size_mb, "MB"),
        ("peak activation memory", costs.memory_mb, budget.memory_mb, "MB"),
    )
    if latency.measured is not None and budget.latency_ms is not None:
        where = {"within": kept, "over": broken, "undecided": undecided}
        verdict, sentence = check_latency(latency.measured, latency.interval, budget.latency_ms)
        where[verdict].append(f"latency {sentence}")
    for what, found, limit, unit in limits:
        if limit is None or found is None:
            continue
        text = f"{what} {_number(found, unit)}", f"the budget of {_number(limit, unit)}"
        if found <= limit:
            kept.append(f"{text[0]} is within {text[1]}")
        else:
            broken.append(f"{text[0]} is over {text[1]}")
    notes = []
    if latency.measured is None:
        notes.append(f"latency was not measured: {latency.why_not_measured}")
        # The same runtime would have measured the accuracy; state what did instead.
        notes.append(f"accuracy was measured on {manifest.accuracy.measured_on}")
    return Verdict(not broken, (*broken, *undecided, *notes), tuple(kept), tuple(undecided))


def check_latency(
    ms: float, interval: tuple[float, float] | None, budget_ms: float
) -> tuple[Literal["within", "over", "undecided"], str]:
    """Check a latency against a budget normalised to the same reference network.

    Args:
        ms: median milliseconds per image.
        interval: its 95% confidence interval; None if unknown: the median is compared.
        budget_ms: the budget.

    Returns:
        Whether the whole interval is within the budget, over it, or neither; and a sentence.
    """
    low, high = interval or (ms, ms)
    found, budget = _number(ms, "ms"), f"the budget of {_number(budget_ms, 'ms')}"
    if interval is not None:
        found += f" (95% interval {low:.4g} to {high:.4g})"
    if high <= budget_ms:
        return "within", f"{found} is within {budget}"
    if not low <= budget_ms:  # NaN counts as over
        return "over", f"{found} is over {budget}"
    return (
        "undecided",
        f"{found} is undecided: {budget} lies within the interval. Measured again with less other "
        "work on the machine, or for longer, the interval is narrower",
    )


def _number(value: float, unit: str) -> str:
    if isinstance(value, int) and not unit:
        return f"{value:,}"
    return f"{value:.4g} {unit}"
