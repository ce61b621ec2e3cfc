"""Measure a device, or say why it cannot be measured here; and check its budget either way."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from data.dataset import DatasetInfo
from devices.backends import Backend, backend
from devices.device import Device, DeviceError
from devices.fingerprint import machine_state
from devices.latency import LatencyTable
from models.operators import macs
from models.space import SearchSpace
from stages.common.clock import REFERENCE
from stages.common.devices import pick_device
from stages.common.files import rounded, write_bytes, write_json
from stages.common.params import read_section
from stages.common.progress import Progress, counted
from stages.common.runtime import prepare_machine
from stages.common.schemas import LATENCY
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
    runtime = usable_backend(flags.device, device)
    info = DatasetInfo.read(flags.data)
    space = SearchSpace.load(flags.space, info.image_shape, len(info.classes))
    check_feasible(space, flags.device, device, None)

    away = runtime.why_not_measured(device)
    with tempfile.TemporaryDirectory() as folder:
        if away:
            try_build(space, device, runtime, Path(folder))
            table, reference_ms = LatencyTable.unmeasured(flags.device, runtime.name), None
            print(f"{flags.device} is not measured: {away}")
        else:
            table, reference_ms = measured_table(
                space, flags.device, device, runtime, params, Path(folder)
            )
            table.check_error(device.max_error)
            write_bytes(flags.out / REFERENCE, (Path(folder) / REFERENCE).read_bytes())
    check_feasible(space, flags.device, device, table)
    if not away:
        draw_held_out(table, flags.out / "latency.png")
    content = describe(table, runtime, params, away) | {"reference_ms": rounded(reference_ms)}
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


def measured_table(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    params: ProfileParams,
    work: Path,
) -> tuple[LatencyTable, float]:
    """Profile the device with progress on the terminal."""
    with Progress("profile", steps(space, device, runtime, params)) as progress:
        table, reference_ms = profile(space, name, device, runtime, params, work, counted(progress))
    for precision, error in table.error.items():
        print(
            f"{name} {precision}: {error.mean:.1%} mean error on {len(error.pairs)} held-out "
            f"networks, {error.within_5:.0%} within 5%, {error.within_10:.0%} within 10%"
        )
    return table, reference_ms


def describe(
    table: LatencyTable, runtime: Backend, params: ProfileParams, away: str
) -> dict[str, Any]:
    """The content of `latency.json`.

    Args:
        table: the latency model; without blocks where the device was not measured.
        runtime: the device's backend.
        params: how it was measured.
        away: why it was not, or "".
    """
    return {
        **table.to_json(),
        "why_not_measured": away or None,
        "machine": None if away else machine_state(runtime.name),
        "protocol": None if away else params.model_dump(mode="json"),
    }
