"""Profile one device: measure it, import its table, or record why it cannot be measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.files import rounded
from core.progress import Progress, count_steps
from devices.device import Device, DeviceError
from devices.latency.budgets import latency_budget, with_largest
from devices.latency.device_profile import DeviceProfile
from devices.latency.networks import write_network_in
from devices.latency.offline import check_unchanged, import_table
from devices.latency.plan import Plan
from devices.latency.settings import ProfileParams
from devices.latency.table import FLOAT32, LatencyTable
from devices.measure.interleaved import Measurement
from devices.measure.reference import REFERENCE
from devices.measure.target import Target
from devices.runtimes.registry import backend
from models.space.costs import block_flops
from models.space.space import SearchSpace


def check_backend(name: str, device: Device) -> None:
    """Check the device's settings by its backend.

    Raises:
        DeviceError: a setting is invalid; the message has the full key.
    """
    try:
        backend(device.backend).check(device)
    except DeviceError as error:
        raise DeviceError(f"devices.{name}.{error}") from error


def profile_device(
    space: SearchSpace, target: Target, params: ProfileParams, root: Path
) -> DeviceProfile:
    """Return the device's latency model; an imported table's path is relative to `root`.

    Raises:
        UserError: the model's error exceeds the device's `max_error`.
        DeviceError: the runtime cannot build the space's largest network.
        MeasurementError: a model cannot be measured.
    """
    name, device = target.name, target.device
    if device.table is not None:
        file = root / device.table.file
        check_unchanged(name, device, file)
        table, machine = import_table(space, name, device, params, file)
        print(f"{name}: {len(table.block_ms)} blocks from {device.table.file}")
        found = DeviceProfile(table, imported=device.table.model_dump(), machine=machine)
    elif target.why_not_measured:
        try_build(space, target)
        print(f"{name} is not measured: {target.why_not_measured}")
        found = DeviceProfile(LatencyTable.unmeasured(name, device.backend))
    else:
        found = measure_device(space, target, params)
        found.table.check_error(device.max_error)
    return replace(
        found,
        budget_ms=latency_budget(device, found.table),
        why_not_measured=target.why_not_measured or None,
    )


def try_build(space: SearchSpace, target: Target) -> None:
    """Build the space's largest network, to find runtime errors before training.

    Raises:
        DeviceError: the runtime cannot build it; the message includes the runtime's error.
    """
    device, runtime = target.device, target.backend
    precision = FLOAT32 if device.precision == "auto" else device.precision
    largest = space.extreme(block_flops, largest=True)
    with tempfile.TemporaryDirectory() as folder:
        network = write_network_in(precision, largest, Path(folder), runtime, seed=0)
        runtime.build(network, precision, Path(folder), device)


def measure_device(space: SearchSpace, target: Target, params: ProfileParams) -> DeviceProfile:
    """Measure every block and some whole networks, and fit the device's latency model.

    Raises:
        MeasurementError: a model cannot be measured.
    """
    machine = target.machine()  # fails early if an agent does not answer
    plan = Plan.of(space, target.device, params)
    with tempfile.TemporaryDirectory() as folder, Progress("profile", plan.steps) as progress:
        reference, on_done = Path(folder) / REFERENCE, count_steps(progress)
        blocks, networks = plan.write_models(target.backend, Path(folder), on_done)
        block_rows = target.measure(blocks, reference, params.protocol, on_done)
        expected_ms = next(row.reference_ms for row in block_rows.values())
        network_rows = target.measure(
            networks, reference, params.network_protocol, on_done, expected_ms
        )
        reference_onnx = reference.read_bytes()
    # Normalise both to the reference latency of the second measurement, which is the longer one.
    reference_ms = next(row.reference_ms for row in network_rows.values())
    found = {key: row.rescale(reference_ms) for key, row in block_rows.items()} | network_rows
    table = plan.fit(target.name, target.backend, {key: row.ms for key, row in found.items()})
    print(interval_line(target.name, found, params.max_interval))
    return DeviceProfile(
        with_largest(table, space, target.device, found),
        machine=machine,
        protocol=params.model_dump(mode="json"),
        reference=space.extreme(block_flops).to_json(),
        reference_ms=rounded(reference_ms),
        measurements={
            key: {
                "ms": rounded(row.ms),
                "interval": [rounded(ms) for ms in row.interval],
                "spread": rounded(row.spread),
                "blocks": row.blocks,
                "undisturbed": rounded(row.undisturbed),
            }
            for key, row in found.items()
        },
        reference_onnx=reference_onnx,
    )


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


def summary_lines(device: Device, table: LatencyTable) -> Iterator[str]:
    """Sentences on the latency model's kind and error, and on the latency share."""
    name = table.device
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
