"""Profile a device, or record why it cannot be measured, and check its budget in both cases."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.files import rounded, write_bytes, write_json
from core.process import prepare_machine
from core.progress import Progress, count_steps
from core.schemas import LATENCY
from core.settings import read_section
from data.dataset import DatasetInfo
from devices.device import Device, DeviceError
from devices.fleet.read import pick_device
from devices.latency.budgets import latency_budget
from devices.latency.device_space import device_space
from devices.latency.feasibility import check_feasible
from devices.latency.networks import write_lower, write_network
from devices.latency.offline import check_unchanged, import_table
from devices.latency.picture import draw_held_out
from devices.latency.profiling import FLOAT32, profile, steps
from devices.latency.settings import ProfileParams
from devices.latency.table import LatencyTable
from devices.measure.interleaved import Measurement
from devices.measure.reference import REFERENCE
from devices.measure.target import Target, open_target
from devices.runtimes.base import Backend
from devices.runtimes.registry import backend
from models.space.operators import macs
from models.space.space import SearchSpace


def main() -> None:
    """Parse the flags, measure, fit, check the budget, write the latency model."""
    parser = argparse.ArgumentParser(prog="python -m stages profile", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--space", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "profile", ProfileParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(1, params.seed)
    runtime = usable_backend(flags.device, device)
    info = DatasetInfo.read(flags.data)
    whole = SearchSpace.load(flags.space, info.image_shape, len(info.classes))
    space = device_space(whole, flags.device, device).space
    check_feasible(space, flags.device, device, None)

    target = open_target(flags.device, device)
    if device.table is not None:
        file = flags.params.parent / device.table.file
        check_unchanged(flags.device, device, file)
        table, imported = import_table(space, flags.device, device, runtime, params, file)
        print(f"{flags.device}: {len(table.block_ms)} blocks from {device.table.file}")
        about: dict[str, Any] = {"machine": imported.machine}
    elif target.why_not_measured:
        with tempfile.TemporaryDirectory() as folder:
            try_build(space, device, runtime, Path(folder))
        table, about = LatencyTable.unmeasured(flags.device, runtime.name), {}
        print(f"{flags.device} is not measured: {target.why_not_measured}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            table, about = measure_device(
                space, flags.device, device, runtime, target, params, Path(folder)
            )
            reference = (Path(folder) / REFERENCE).read_bytes()
        table.check_error(device.max_error)
        write_bytes(flags.out / REFERENCE, reference)
    print_error(flags.device, table)
    print_budget(flags.device, device, table)
    check_feasible(space, flags.device, device, table)
    if table.error:
        draw_held_out(table, flags.out / "latency.png")
    content = describe(table, device, target.why_not_measured) | about
    write_json(flags.out / "latency.json", LATENCY, content)


def usable_backend(name: str, device: Device) -> Backend:
    """The device's backend, after checking the device's settings.

    Raises:
        DeviceError: a setting is invalid; the message has the full key.
    """
    try:
        runtime = backend(device.backend)
        runtime.check(device)
    except DeviceError as error:
        raise DeviceError(f"devices.{name}.{error}") from error
    return runtime


def try_build(space: SearchSpace, device: Device, runtime: Backend, work: Path) -> None:
    """Build the space's largest network, to find runtime errors before training.

    Raises:
        DeviceError: the runtime cannot build it; the message includes the runtime's error.
    """
    network = work / "largest.onnx"
    write_network(space.extreme(macs, largest=True), network, seed=0)
    precision = FLOAT32 if device.precision == "auto" else device.precision
    if precision != FLOAT32:
        write_lower(network, work / f"{precision}.onnx", precision, runtime, seed=0)
        network = work / f"{precision}.onnx"
    runtime.build(network, precision, work, device)


def measure_device(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    target: Target,
    params: ProfileParams,
    work: Path,
) -> tuple[LatencyTable, dict[str, Any]]:
    """Profile the device with progress on the terminal.

    Returns:
        The latency model, and the measurement's entries for `latency.json`.
    """
    before = target.machine()  # fails early if an agent does not answer
    with Progress("profile", steps(space, device, runtime, params)) as progress:
        table, reference_ms, found = profile(
            space, name, device, runtime, target, params, work, count_steps(progress)
        )
    print_intervals(name, found, params.max_interval)
    return table, {
        "machine": before,
        "protocol": params.model_dump(mode="json"),
        "reference": space.extreme(macs).to_json(),
        "reference_ms": rounded(reference_ms),
        "measurements": {
            key: {
                "ms": rounded(row.ms),
                "interval": [rounded(ms) for ms in row.interval],
                "spread": rounded(row.spread),
                "blocks": row.blocks,
                "undisturbed": rounded(row.undisturbed),
            }
            for key, row in found.items()
        },
    }


def print_intervals(name: str, found: Mapping[str, Measurement], max_interval: float) -> None:
    """Print the widths of the latencies' confidence intervals."""
    widths = [row.half_width for row in found.values()]
    wide = sum(width > max_interval for width in widths)
    undisturbed = float(np.mean([row.undisturbed for row in found.values()]))
    print(
        f"{name}: half-widths of the 95% intervals of {len(widths)} latencies: median "
        f"{np.median(widths):.1%}, largest {max(widths):.1%}; {wide} are wider than max_interval "
        f"{max_interval:.1%}; {undisturbed:.0%} of the blocks were undisturbed."
    )


def print_error(name: str, table: LatencyTable) -> None:
    """Print the latency model's kind and error."""
    for precision, error in table.error.items():
        model = "sum of blocks" if table.additive(precision) else "regression on stage features"
        print(
            f"{name} {precision}: {error.mean:.1%} mean error on {len(error.pairs)} held-out "
            f"networks, {error.within_5:.0%} within 5%, {error.within_10:.0%} within 10% "
            f"({model})"
        )
    if table.measured and not table.error:
        print(f"{name}: no whole network was measured, so the prediction error is unknown.")


def print_budget(name: str, device: Device, table: LatencyTable) -> None:
    """Print the device's latency share in milliseconds."""
    share, budget_ms = device.budget.latency_share, latency_budget(device, table)
    if share is not None and budget_ms is not None:
        print(
            f"{name}: latency_share {share:g} is {budget_ms:.4g} ms, of {table.largest_ms:.4g} ms "
            "of the space's largest network."
        )


def describe(table: LatencyTable, device: Device, reason: str) -> dict[str, Any]:
    """The content of `latency.json`, with null for what was not measured.

    Args:
        table: the latency model; without blocks if the device was not measured.
        device: its settings.
        reason: why it was not measured, or "".
    """
    return {
        **table.to_json(),
        "budget_ms": latency_budget(device, table),
        "why_not_measured": reason or None,
        "imported": None if device.table is None else device.table.model_dump(),
        "machine": None,
        "protocol": None,
        "reference": None,
        "reference_ms": None,
        "measurements": None,
    }
