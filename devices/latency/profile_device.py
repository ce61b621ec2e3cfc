"""Profile one device: measure it, import its table, or record why it cannot be measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.files import rounded
from core.progress import Progress, count_steps
from devices.device import Device, DeviceError
from devices.latency.budgets import latency_budget
from devices.latency.device_profile import DeviceProfile
from devices.latency.networks import write_lower, write_network
from devices.latency.offline import check_unchanged, import_table
from devices.latency.profiling import FLOAT32, profile, steps
from devices.latency.settings import ProfileParams
from devices.latency.table import LatencyTable
from devices.measure.interleaved import Measurement
from devices.measure.reference import REFERENCE
from devices.measure.target import Target
from devices.runtimes.base import Backend
from devices.runtimes.registry import backend
from models.space.costs import block_flops
from models.space.space import SearchSpace


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


def profile_device(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    target: Target,
    params: ProfileParams,
    root: Path,
) -> DeviceProfile:
    """Return the device's latency model.

    Args:
        space: the search space, within the device's operators.
        name: the device's name.
        device: its settings.
        runtime: its backend.
        target: where it is measured.
        params: measurement settings.
        root: folder that an imported table's path is relative to.

    Raises:
        UserError: the model's error exceeds the device's `max_error`.
        DeviceError: the runtime cannot build the space's largest network.
        MeasurementError: a model cannot be measured.
    """
    if device.table is not None:
        check_unchanged(name, device, root / device.table.file)
        table, imported = import_table(
            space, name, device, runtime, params, root / device.table.file
        )
        print(f"{name}: {len(table.block_ms)} blocks from {device.table.file}")
        found = DeviceProfile(table, imported=device.table.model_dump(), machine=imported.machine)
    elif target.why_not_measured:
        try_build(space, device, runtime)
        print(f"{name} is not measured: {target.why_not_measured}")
        found = DeviceProfile(LatencyTable.unmeasured(name, runtime.name))
    else:
        found = measure_device(space, name, device, runtime, target, params)
        found.table.check_error(device.max_error)
    return replace(
        found,
        budget_ms=latency_budget(device, found.table),
        why_not_measured=target.why_not_measured or None,
    )


def try_build(space: SearchSpace, device: Device, runtime: Backend) -> None:
    """Build the space's largest network, to find runtime errors before training.

    Raises:
        DeviceError: the runtime cannot build it; the message includes the runtime's error.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        network = work / "largest.onnx"
        write_network(space.extreme(block_flops, largest=True), network, seed=0)
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
) -> DeviceProfile:
    """Measure the device, with progress on the terminal; arguments as of `profile_device`."""
    before = target.machine()  # fails early if an agent does not answer
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress("profile", steps(space, device, runtime, params)) as progress,
    ):
        table, reference_ms, found = profile(
            space, name, device, runtime, target, params, Path(folder), count_steps(progress)
        )
        reference = (Path(folder) / REFERENCE).read_bytes()
    print(interval_line(name, found, params.max_interval))
    return DeviceProfile(
        table,
        machine=before,
        protocol=params.model_dump(mode="json"),
        reference=space.extreme(block_flops).to_json(),
        reference_ms=rounded(reference_ms),
        measurements={key: measurement_json(row) for key, row in found.items()},
        reference_onnx=reference,
    )


def measurement_json(row: Measurement) -> dict[str, Any]:
    """JSON values of a measurement."""
    return {
        "ms": rounded(row.ms),
        "interval": [rounded(ms) for ms in row.interval],
        "spread": rounded(row.spread),
        "blocks": row.blocks,
        "undisturbed": rounded(row.undisturbed),
    }


def interval_line(name: str, found: Mapping[str, Measurement], max_interval: float) -> str:
    """A sentence on the widths of the latencies' confidence intervals."""
    widths = [row.half_width for row in found.values()]
    wide = sum(width > max_interval for width in widths)
    undisturbed = float(np.mean([row.undisturbed for row in found.values()]))
    return (
        f"{name}: half-widths of the 95% intervals of {len(widths)} latencies: median "
        f"{np.median(widths):.1%}, largest {max(widths):.1%}; {wide} are wider than max_interval "
        f"{max_interval:.1%}; {undisturbed:.0%} of the blocks were undisturbed."
    )


def summary_lines(name: str, device: Device, table: LatencyTable) -> Iterator[str]:
    """Sentences on the latency model's kind and error, and on the latency share."""
    for precision, error in table.error.items():
        model = "sum of blocks" if table.additive(precision) else "regression on stage features"
        yield (
            f"{name} {precision}: {error.mean:.1%} mean error on {len(error.pairs)} held-out "
            f"networks, {error.within_5:.0%} within 5%, {error.within_10:.0%} within 10% "
            f"({model})"
        )
    if table.measured and not table.error:
        yield f"{name}: no whole network was measured, so the prediction error is unknown."
    share, budget_ms = device.budget.latency_share, latency_budget(device, table)
    if share is not None and budget_ms is not None:
        yield (
            f"{name}: latency_share {share:g} is {budget_ms:.4g} ms, of {table.largest_ms:.4g} ms "
            "of the space's largest network."
        )
