"""Whether a device's budget can be met at all, asked before anything is trained."""

from __future__ import annotations

import tempfile
from pathlib import Path

from devices.agent_client import Patience
from devices.bench import bench_of
from devices.device import Device, DeviceError
from devices.latency import LatencyTable
from devices.measure import Protocol
from models.operators import macs
from models.space import SearchSpace
from stages.common.budgets import InfeasibleBudgetError, limits, require_feasible
from stages.profile.networks import write_network

_QUICK = Protocol(blocks=9, calls=20)


def check_feasible(
    space: SearchSpace, device_name: str, device: Device, table: LatencyTable | None
) -> None:
    """Stop if no architecture of the space meets the device's budget.

    Args:
        space: the architectures there are.
        device_name: for the message.
        device: whose budget counts.
        table: its latency model; None leaves latency_ms out, and the rest is exact.

    Raises:
        InfeasibleBudgetError: names the nearest feasible budget and the way out.
    """
    known = table or LatencyTable.unmeasured(device_name, device.backend)
    require_feasible(space, device_name, limits(device, known))


def quick_latency(
    space: SearchSpace, name: str, device: Device, patience: Patience | None = None
) -> float:
    """Measure the space's smallest network on the device, in about two seconds.

    Returns:
        Milliseconds per image at batch 1 in float32: about the fastest the space can be.

    Raises:
        DeviceError: the device cannot be measured from here.
        MeasurementError: the network cannot be measured.
    """
    bench = bench_of(name, device, patience)
    if bench.why_not_measured:
        raise DeviceError(bench.why_not_measured)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "smallest.onnx"
        write_network(space.extreme(macs), file, seed=0)
        found = bench.measure({"smallest": file}, file, _QUICK)
    return found["smallest"].ms


__all__ = ["InfeasibleBudgetError", "check_feasible", "quick_latency"]
