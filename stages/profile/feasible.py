"""Whether a device's budget can be met at all, asked before anything is trained."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices.agent_client import Patience
from devices.backends import backend
from devices.bench import bench_of
from devices.device import Device, DeviceError
from devices.latency import LatencyTable
from devices.measure import Measurement, Protocol
from models.architecture import Architecture
from models.operators import macs
from models.space import SearchSpace
from stages.common.budgets import (
    InfeasibleBudgetError,
    limits,
    require_feasible,
    search_precision,
)
from stages.profile.networks import write_lower, write_network

_QUICK = Protocol(blocks=9, calls=20)
_FLOAT32 = "float32"
Interval = tuple[float, float]


@dataclass(frozen=True)
class Ends:
    """The space's smallest network, measured against its largest in interleaved blocks.

    Attributes:
        smallest: the measurement; its `ratio` is the least share of latency there can be, about.
    """

    smallest: Measurement

    @property
    def largest_ms(self) -> float:
        """Milliseconds per image of the largest network."""
        return self.smallest.reference_ms

    def least(self, key: str) -> tuple[float, Interval]:
        """What the smallest network needs of a latency budget, with its 95% interval.

        Args:
            key: `latency_ms` or `latency_share`, whose unit is meant.
        """
        if key == "latency_ms":
            return self.smallest.ms, self.smallest.interval
        low, high = self.smallest.interval
        return self.smallest.ratio, (low / self.largest_ms, high / self.largest_ms)


def check_feasible(
    space: SearchSpace, device_name: str, device: Device, table: LatencyTable | None
) -> None:
    """Stop if no architecture of the space meets the device's budget.

    Args:
        space: the architectures there are.
        device_name: for the message.
        device: whose budget counts.
        table: its latency model; None leaves the latency out, and the rest is exact.

    Raises:
        InfeasibleBudgetError: names the nearest feasible budget and the way out.
    """
    known = table or LatencyTable.unmeasured(device_name, device.backend)
    require_feasible(space, device_name, limits(device, known))


def measure_ends(
    space: SearchSpace, name: str, device: Device, patience: Patience | None = None
) -> Ends:
    """Measure the space's smallest network against its largest, in about two seconds.

    Both in the precision searched in, with random weights.

    Raises:
        DeviceError: the device cannot be measured from here, or its runtime refuses a network.
        MeasurementError: a network cannot be measured.
    """
    bench = bench_of(name, device, patience)
    if bench.why_not_measured:
        raise DeviceError(bench.why_not_measured)
    with tempfile.TemporaryDirectory() as folder:
        smallest, largest = (
            _written(space.extreme(macs, largest=end), device, Path(folder), word)
            for end, word in ((False, "smallest"), (True, "largest"))
        )
        found = bench.measure({"smallest": smallest}, largest, _QUICK)
    return Ends(found["smallest"])


def _written(network: Architecture, device: Device, folder: Path, word: str) -> Path:
    """A network's file in the precision searched in."""
    file, precision = folder / f"{word}.onnx", search_precision(device)
    write_network(network, file, seed=0)
    if precision == _FLOAT32:
        return file
    lower = folder / f"{word}-{precision}.onnx"
    write_lower(file, lower, precision, backend(device.backend), seed=0)
    return lower


__all__ = ["Ends", "InfeasibleBudgetError", "check_feasible", "measure_ends"]
