"""Feasibility checks of a device's budget, run before any training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from devices.device import Device
from devices.latency.budgets import limits, search_precision
from devices.latency.networks import write_network_in
from devices.latency.table import LatencyTable
from devices.measure.interleaved import Measurement, Protocol
from devices.measure.target import Target
from models.space.costs import block_flops
from models.space.limits import require_feasible
from models.space.space import SearchSpace

_QUICK = Protocol(blocks=9, calls=20)


def check_feasible(
    space: SearchSpace, name: str, device: Device, table: LatencyTable | None
) -> None:
    """Raise if no architecture of the space meets the device's budget.

    Without a latency table the latency budget is skipped.

    Raises:
        InfeasibleBudgetError: the message names the closest feasible budget and the fix.
    """
    known = table or LatencyTable.unmeasured(name, device.backend)
    require_feasible(space, name, limits(device, known))


def measure_ends(space: SearchSpace, target: Target) -> Measurement:
    """Measure the space's smallest network, with its largest as the reference.

    Takes about two seconds. Both are in the search precision, with random weights.

    Raises:
        DeviceError: the runtime rejects a network.
        MeasurementError: a network cannot be measured.
    """
    precision = search_precision(target.device)
    with tempfile.TemporaryDirectory() as folder:
        smallest, largest = (
            write_network_in(
                precision,
                space.extreme(block_flops, largest=end),
                Path(folder),
                target.backend,
                seed=0,
            )
            for end in (False, True)
        )
        return target.measure({"smallest": smallest}, largest, _QUICK)["smallest"]


def least_latency(ends: Measurement, key: str) -> tuple[float, tuple[float, float]]:
    """The smallest network's `latency_ms` or `latency_share`, with its 95% interval."""
    if key == "latency_ms":
        return ends.ms, ends.interval
    return ends.ratio, (ends.low, ends.high)
