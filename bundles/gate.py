"""Quality gate: check a bundle against its device's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bundles.manifest import Manifest
from bundles.quality import check_quality

MEGABYTE = 1_000_000
Outcome = Literal["within", "over", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """Result of the gate: sentences on limits.

    Attributes:
        passed: no limit that could be checked is exceeded.
        reasons: on exceeded limits, then on undecided and unmeasured ones.
        kept: on limits that are met.
        undecided: the reasons whose limit lies within the measurement's interval.
    """

    passed: bool
    reasons: tuple[str, ...]
    kept: tuple[str, ...]
    undecided: tuple[str, ...] = ()


def check_limits(manifest: Manifest, size_bytes: int) -> Verdict:
    """Check a bundle's numbers, and the size of its archive, against its device's limits."""
    budget, latency, costs = manifest.device.budget, manifest.latency_ms, manifest.costs
    sentences: dict[Outcome, list[str]] = {"within": [], "over": [], "undecided": []}
    accuracy, least = manifest.accuracy.delivered, manifest.device.min_accuracy
    if accuracy >= least:
        sentences["within"].append(f"accuracy {accuracy:.4f} reaches the required {least:g}")
    else:
        sentences["over"].append(f"accuracy {accuracy:.4f} is below the required {least:g}")
    for met, text in check_quality(manifest.quality, manifest.device):
        sentences["within" if met else "over"].append(text)
    limits = (
        ("latency", latency.measured, budget.latency_ms, "ms", latency.interval),
        ("FLOPs", costs.flops, budget.flops, "", None),
        ("parameters", costs.parameters, budget.parameters, "", None),
        ("size", size_bytes / MEGABYTE, budget.size_mb, "MB", None),
        ("peak activation memory", costs.memory_mb, budget.memory_mb, "MB", None),
    )
    for what, found, limit, unit, interval in limits:
        if found is not None and limit is not None:
            outcome, text = check_limit(found, limit, unit, interval)
            sentences[outcome].append(f"{what} {text}")
    notes = []
    if latency.measured is None:
        notes.append(f"latency was not measured: {latency.why_not_measured}")
        # The same runtime would have measured the accuracy; state what did instead.
        notes.append(f"accuracy was measured on {manifest.accuracy.measured_on}")
    kept, broken, undecided = (tuple(texts) for texts in sentences.values())
    return Verdict(not broken, (*broken, *undecided, *notes), kept, undecided)


def check_limit(
    value: float, limit: float, unit: str, interval: tuple[float, float] | None = None
) -> tuple[Outcome, str]:
    """Check whether a value, or its whole 95% interval, is within its budget; adds a sentence.

    A latency is normalised to the budget's reference network.
    """
    low, high = interval or (value, value)
    found, budget = _number(value, unit), f"the budget of {_number(limit, unit)}"
    if interval is not None:
        found += f" (95% interval {low:.4g} to {high:.4g})"
    if high <= limit:
        return "within", f"{found} is within {budget}"
    if not low <= limit:  # NaN counts as over
        return "over", f"{found} is over {budget}"
    return (
        "undecided",
        f"{found} is undecided: {budget} lies within the interval. Measured again with less other "
        "work on the machine, or for longer, the interval is narrower",
    )


def _number(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}" if unit else f"{value:,}"
