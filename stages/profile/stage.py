"""Measure a device, or say why it cannot be measured here; and check its budget either way."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import DatasetInfo
from devices.agent.quiet import quiet
from devices.backends import Backend, backend
from devices.bench import Bench, bench_of
from devices.device import Device, DeviceError
from devices.latency import LatencyTable
from devices.measure import Measurement
from models.operators import macs
from models.space import SearchSpace
from stages.common.budgets import latency_budget
from stages.common.clock import REFERENCE
from stages.common.device_space import device_space
from stages.common.devices import pick_device
from stages.common.files import rounded, write_bytes, write_json
from stages.common.params import read_section
from stages.common.progress import Progress, counted
from stages.common.runtime import prepare_machine
from stages.common.schemas import LATENCY
from stages.profile.elsewhere import check_unchanged, imported_table
from stages.profile.feasible import check_feasible
from stages.profile.measuring import FLOAT32, profile, steps
from stages.profile.networks import write_lower, write_network
from stages.profile.params import ProfileParams
from stages.profile.picture import draw_held_out


def main() -> None:
    """Parse the flags, measure, fit, check the budget, write the latency model."""
    parser = argparse.ArgumentParser(prog="python -m stages.profile", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--space", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "profile", ProfileParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(1, params.seed)
    quiet()
    runtime = usable_backend(flags.device, device)
    info = DatasetInfo.read(flags.data)
    whole = SearchSpace.load(flags.space, info.image_shape, len(info.classes))
    space = device_space(whole, flags.device, device).space
    check_feasible(space, flags.device, device, None)

    bench = bench_of(flags.device, device)
    if device.table is not None:
        file = flags.params.parent / device.table.file
        check_unchanged(flags.device, device, file)
        table, imported = imported_table(space, flags.device, device, runtime, params, file)
        print(f"{flags.device}: {len(table.block_ms)} blocks from {device.table.file}")
        about: dict[str, Any] = {"machine": imported.machine}
    elif bench.why_not_measured:
        with tempfile.TemporaryDirectory() as folder:
            try_build(space, device, runtime, Path(folder))
        table, about = LatencyTable.unmeasured(flags.device, runtime.name), {}
        print(f"{flags.device} is not measured: {bench.why_not_measured}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            table, about = measured(
                space, flags.device, device, runtime, bench, params, Path(folder)
            )
            reference = (Path(folder) / REFERENCE).read_bytes()
        table.check_error(device.max_error)
        write_bytes(flags.out / REFERENCE, reference)
    say_error(flags.device, table)
    say_budget(flags.device, device, table)
    check_feasible(space, flags.device, device, table)
    if table.error:
        draw_held_out(table, flags.out / "latency.png")
    content = describe(table, device, bench.why_not_measured) | about
    write_json(flags.out / "latency.json", LATENCY, content)


def usable_backend(name: str, device: Device) -> Backend:
    """The device's backend, once it has accepted the device's settings.

    Raises:
        DeviceError: a setting does not suit; the message has the full key.
    """
    try:
        runtime = backend(device.backend)
        runtime.check(device)
    except DeviceError as error:
        raise DeviceError(f"devices.{name}.{error}") from error
    return runtime


def try_build(space: SearchSpace, device: Device, runtime: Backend, work: Path) -> None:
    """Build the space's largest network, to learn before training what the runtime refuses.

    Raises:
        DeviceError: the runtime cannot build it; the message has the runtime's own.
    """
    network = work / "largest.onnx"
    write_network(space.extreme(macs, largest=True), network, seed=0)
    precision = FLOAT32 if device.precision == "auto" else device.precision
    if precision != FLOAT32:
        write_lower(network, work / f"{precision}.onnx", precision, runtime, seed=0)
        network = work / f"{precision}.onnx"
    runtime.build(network, precision, work, device)


def measured(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    bench: Bench,
    params: ProfileParams,
    work: Path,
) -> tuple[LatencyTable, dict[str, Any]]:
    """Profile the device with progress on the terminal.

    Returns:
        The latency model, and what to tell of the measurement in `latency.json`.
    """
    before = bench.machine()  # also says at once whether an agent answers
    with Progress("profile", steps(space, device, runtime, params)) as progress:
        table, reference_ms, found = profile(
            space, name, device, runtime, bench, params, work, counted(progress)
        )
    say_intervals(name, found, params.max_interval)
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


def say_intervals(name: str, found: Mapping[str, Measurement], max_interval: float) -> None:
    """Print how exactly the latencies are known."""
    widths = [row.half_width for row in found.values()]
    wide = sum(width > max_interval for width in widths)
    undisturbed = float(np.mean([row.undisturbed for row in found.values()]))
    print(
        f"{name}: 95% intervals of {len(widths)} latencies are {np.median(widths):.1%} of them to "
        f"either side (median; the widest {max(widths):.1%}); {wide} are wider than max_interval "
        f"{max_interval:.1%}; {undisturbed:.0%} of the blocks were undisturbed."
    )


def say_error(name: str, table: LatencyTable) -> None:
    """Print how far off the latency model is, and which model it is."""
    for precision, error in table.error.items():
        model = "sum of blocks" if table.additive(precision) else "regression on stage features"
        print(
            f"{name} {precision}: {error.mean:.1%} mean error on {len(error.pairs)} held-out "
            f"networks, {error.within_5:.0%} within 5%, {error.within_10:.0%} within 10% "
            f"({model})"
        )
    if table.measured and not table.error:
        print(f"{name}: no whole network was measured, so the predictions' error is unknown.")


def say_budget(name: str, device: Device, table: LatencyTable) -> None:
    """Print what a share of latency is in milliseconds on this device."""
    share, budget_ms = device.budget.latency_share, latency_budget(device, table)
    if share is not None and budget_ms is not None:
        print(
            f"{name}: latency_share {share:g} is {budget_ms:.4g} ms, of {table.largest_ms:.4g} ms "
            "of the space's largest network."
        )


def describe(table: LatencyTable, device: Device, away: str) -> dict[str, Any]:
    """The content of `latency.json`, with null for what only a measurement can tell.

    Args:
        table: the latency model; without blocks where nobody measured the device.
        device: its settings.
        away: why it was not measured from here, or "".
    """
    return {
        **table.to_json(),
        "budget_ms": latency_budget(device, table),
        "why_not_measured": away or None,
        "imported": None if device.table is None else device.table.model_dump(),
        "machine": None,
        "protocol": None,
        "reference": None,
        "reference_ms": None,
        "measurements": None,
    }
