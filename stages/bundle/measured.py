"""Latency of a bundle's delivered file, here or on its device, against the budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devices.bench import Bench, HereBench
from devices.measure import MeasurementError, Protocol
from stages.bundle.errors import BundleError
from stages.bundle.read import Bundle

PROTOCOL = Protocol(blocks=9, calls=20)
"""Nobody chose params here."""


def measure_latency(path: Path, bundle: Bundle, bench: Bench | None = None) -> tuple[str, Any]:
    """Measure the delivered file in a process of its own, in that machine's own milliseconds.

    Args:
        path: the archive, for messages.
        bundle: its content.
        bench: where it is measured; None: on this machine.

    Raises:
        BundleError: it is over the budget, or cannot be measured there.
        DeviceError: the device's agent cannot be used.
    """
    device, entry = bundle.manifest.device, bundle.manifest.model.entry
    where = f"with {bench.runtime}" if bench is not None else "on this machine"
    bench = bench or HereBench(device)
    if bench.why_not_measured:
        raise BundleError(f"{path}: latency cannot be measured here. {bench.why_not_measured}")
    with bundle.unpacked() as folder:
        model = folder / entry
        try:
            # A network beside itself: what counts is its own time, and how steady it was.
            found = bench.measure({entry: model}, model, PROTOCOL)
        except MeasurementError as error:
            raise BundleError(f"{path}: latency could not be measured: {error}") from error
    ms, budget = found[entry].ms, device.budget.latency_ms
    machine = bench.machine()
    said = f"{ms:.4g} ms {where} ({machine['runtime']} {machine['runtime_version']})"
    if budget is None:
        return f"{said}; the device has no latency budget", True
    if not ms <= budget:
        raise BundleError(f"{path}: latency {said} is over the budget of {budget:.4g} ms.")
    return f"{said} is within the budget of {budget:.4g} ms", True
