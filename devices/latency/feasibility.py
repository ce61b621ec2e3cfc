"""Feasibility checks of a device's budget, run before any training."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices.device import Device, DeviceError
from devices.latency.budgets import limits, search_precision
from devices.latency.networks import write_network_in
from devices.latency.table import LatencyTable
from devices.measure.client import Timeouts
from devices.measure.interleaved import Measurement, Protocol
from devices.measure.target import open_target
from devices.runtimes.registry import backend
from models.space.costs import block_flops
from models.space.limits import require_feasible
from models.space.space import SearchSpace

_QUICK = Protocol(blocks=9, calls=20)


@dataclass(frozen=True)
class Ends:
    """The space's smallest network, measured against its largest in interleaved blocks.

    Attributes:
        smallest: the measurement; its `ratio` is about the smallest feasible share of latency.
    """

    smallest: Measurement

    @property
    def largest_ms(self) -> float:
        """Milliseconds per image of the largest network."""
        return self.smallest.reference_ms

    def least(self, key: str) -> tuple[float, tuple[float, float]]:
        """The smallest network's `latency_ms` or `latency_share`, with its 95% interval."""
        if key == "latency_ms":
            return self.smallest.ms, self.smallest.interval
        low, high = self.smallest.interval
        return self.smallest.ratio, (low / self.largest_ms, high / self.largest_ms)


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


def measure_ends(
    space: SearchSpace, name: str, device: Device, patience: Timeouts | None = None
) -> Ends:
    """Measure the space's smallest network against its largest, in about two seconds.

    Both in the search precision, with random weights.

    Raises:
        DeviceError: the device cannot be measured from this machine, or its runtime rejects a
            network.
        MeasurementError: a network cannot be measured.
    """
    target = open_target(name, device, patience)
    if target.why_not_measured:
        raise DeviceError(target.why_not_measured)
    runtime, precision = backend(device.backend), search_precision(device)
    with tempfile.TemporaryDirectory() as folder:
        smallest, largest = (
            write_network_in(
                precision, space.extreme(block_flops, largest=end), Path(folder), runtime, seed=0
            )
            for end in (False, True)
        )
        found = target.measure({"smallest": smallest}, largest, _QUICK)
    return Ends(found["smallest"])
