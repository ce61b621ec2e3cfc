"""Latency of a bundle's delivered file on the machine that holds it, against the budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devices.backends import backend
from devices.measure import MeasurementError, Protocol, measure
from stages.bundle.errors import BundleError
from stages.bundle.read import Bundle

PROTOCOL = Protocol(blocks=9, calls=50, max_spread=1.0)
"""Nobody chose params here: a machine that is far busier than this says nothing, and is told so."""


def measure_latency(path: Path, bundle: Bundle) -> tuple[str, Any]:
    """Measure the delivered file in a process of its own, in this machine's own milliseconds.

    Args:
        path: the archive, for messages.
        bundle: its content.

    Raises:
        BundleError: it is over the budget, or cannot be measured here.
    """
    device, entry = bundle.manifest.device, bundle.manifest.model.entry
    runtime = backend(device.backend)
    away = runtime.why_not_measured(device)
    if away:
        raise BundleError(f"{path}: latency cannot be measured here. {away}")
    with bundle.unpacked() as folder:
        model = folder / entry
        try:
            # A network beside itself: what counts is its own time, and how steady it was.
            found = measure(device.backend, {entry: model}, model, device.threads, PROTOCOL)
        except MeasurementError as error:
            raise BundleError(f"{path}: latency could not be measured: {error}") from error
    ms, budget = found[entry].ms, device.budget.latency_ms
    said = f"{ms:.4g} ms with {runtime.runtime} {runtime.version()} on this machine"
    if budget is None:
        return f"{said}; the device has no latency budget", True
    if not ms <= budget:
        raise BundleError(f"{path}: latency {said} is over the budget of {budget:.4g} ms.")
    return f"{said} is within the budget of {budget:.4g} ms", True
