"""The quality gate: does a bundle keep its device's limits?"""

from __future__ import annotations

from dataclasses import dataclass

from stages.bundle.manifest import Manifest

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Verdict:
    """The gate's answer.

    Attributes:
        passed: every limit that could be judged is kept.
        reasons: each broken limit, then what could not be judged, as sentences.
        kept: each limit that is kept, as sentences.
    """

    passed: bool
    reasons: tuple[str, ...]
    kept: tuple[str, ...]


def judge(manifest: Manifest, size_bytes: int) -> Verdict:
    """Hold a bundle's recorded numbers against its device's limits.

    Args:
        manifest: with accuracy, latency, costs, and the device's limits.
        size_bytes: size of the whole archive.
    """
    budget, latency, costs = manifest.device.budget, manifest.latency_ms, manifest.costs
    broken: list[str] = []
    kept: list[str] = []

    accuracy, least = manifest.accuracy.delivered, manifest.device.min_accuracy
    if accuracy >= least:
        kept.append(f"accuracy {accuracy:.4f} reaches the {least:g} asked for")
    else:
        broken.append(f"accuracy {accuracy:.4f} is below the {least:g} asked for")
    limits = (
        ("latency", latency.measured, budget.latency_ms, "ms"),
        ("FLOPs", costs.flops, budget.flops, ""),
        ("parameters", costs.parameters, budget.parameters, ""),
        ("size", size_bytes / MEGABYTE, budget.size_mb, "MB"),
        ("peak activation memory", costs.memory_mb, budget.memory_mb, "MB"),
    )
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
        # The same runtime would have measured both; the manifest says what did.
        notes.append(f"accuracy was measured on {manifest.accuracy.measured_on}")
    return Verdict(not broken, (*broken, *notes), tuple(kept))


def _number(value: float, unit: str) -> str:
    if isinstance(value, int) and not unit:
        return f"{value:,}"
    return f"{value:.4g} {unit}"
