"""Feasibility checks of a device's budget, run before any training."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices.device import Device, DeviceError
from devices.latency.budgets import limits, search_precision
from devices.latency.networks import write_lower, write_network
from devices.latency.table import LatencyTable
from devices.measure.client import Timeouts
from devices.measure.interleaved import Measurement, Protocol
from devices.measure.target import open_target
from devices.runtimes.registry import backend
from models.space.architecture import Architecture
from models.space.costs import block_flops
from models.space.limits import InfeasibleBudgetError, require_feasible
from models.space.space import SearchSpace

_QUICK = Protocol(blocks=9, calls=20)
_FLOAT32 = "float32"
Interval = tuple[float, float]


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

    def least(self, key: str) -> tuple[float, Interval]:
        """The smallest network's latency in a budget's unit, with its 95% interval.

        Args:
            key: the unit: `latency_ms` or `latency_share`.
        """
        if key == "latency_ms":
            return self.smallest.ms, self.smallest.interval
        low, high = self.smallest.interval
        return self.smallest.ratio, (low / self.largest_ms, high / self.largest_ms)


def check_feasible(
    space: SearchSpace, device_name: str, device: Device, table: LatencyTable | None
) -> None:
    """Raise if no architecture of the space meets the device's budget.

    Args:
        space: the search space.
        device_name: for the message.
        device: its settings, with the budget.
        table: its latency model; None skips the latency budget.

    Raises:
        InfeasibleBudgetError: the message names the closest feasible budget and the fix.
    """
    known = table or LatencyTable.unmeasured(device_name, device.backend)
    require_feasible(space, device_name, limits(device, known))


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
    with tempfile.TemporaryDirectory() as folder:
        smallest, largest = (
            _write(space.extreme(block_flops, largest=end), device, Path(folder), word)
            for end, word in ((False, "smallest"), (True, "largest"))
        )
        found = target.measure({"smallest": smallest}, largest, _QUICK)
    return Ends(found["smallest"])


def _write(network: Architecture, device: Device, folder: Path, word: str) -> Path:
    """Write a network in the search precision."""
    file, precision = folder / f"{word}.onnx", search_precision(device)
    write_network(network, file, seed=0)
    if precision == _FLOAT32:
        return file
    lower = folder / f"{word}-{precision}.onnx"
    write_lower(file, lower, precision, backend(device.backend), seed=0)
    return lower


__all__ = ["Ends", "InfeasibleBudgetError", "check_feasible", "measure_ends"]
