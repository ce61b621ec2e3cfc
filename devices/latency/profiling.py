"""From a space and a device to a latency model: export, measure, fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.device import Device
from devices.latency.fit import MeasuredNetwork, fit
from devices.latency.largest import with_largest
from devices.latency.networks import (
    draw_networks,
    network_key,
    split_networks,
    write_block,
    write_lower,
    write_network,
)
from devices.latency.settings import ProfileParams
from devices.latency.table import LatencyTable
from devices.measure.interleaved import Measurement
from devices.measure.reference import REFERENCE
from devices.measure.target import Target
from devices.runtimes.base import Backend
from models.space.architecture import Architecture, Block
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.space.stage_features import stage_features, stage_sizes

FLOAT32 = "float32"
OnDone = Callable[[str], None]


def precisions_of(device: Device, runtime: Backend) -> tuple[str, ...]:
    """Precisions measured on a device; always includes float32."""
    if device.precision == "auto":
        return runtime.native_precisions
    return tuple(dict.fromkeys((FLOAT32, device.precision)))


def steps(space: SearchSpace, device: Device, runtime: Backend, params: ProfileParams) -> int:
    """Number of progress steps of a profile: every model is exported, then measured."""
    networks = (params.networks + params.held_out) * len(precisions_of(device, runtime))
    return 2 * (len(space.blocks()) + networks)


@dataclass(frozen=True)
class Plan:
    """What a profile measures.

    Attributes:
        blocks: every block of the space, by its key.
        networks: whole networks, from the fewest to the most MACs.
        precisions: in which the networks are measured, float32 first.
        held_out: number of networks held out for evaluating the model.
    """

    blocks: Mapping[str, Block]
    networks: tuple[Architecture, ...]
    precisions: tuple[str, ...]
    held_out: int


@dataclass(frozen=True)
class Milliseconds:
    """Measured latencies of blocks by key and of networks by `network_key`."""

    blocks: Mapping[str, float]
    networks: Mapping[str, float]


def plan(space: SearchSpace, device: Device, runtime: Backend, params: ProfileParams) -> Plan:
    """Select what to measure; equal params draw equal networks."""
    rng = np.random.default_rng(params.seed)
    networks = draw_networks(space, params.networks + params.held_out, rng)
    blocks = {block.key: block for block in space.blocks()}
    return Plan(blocks, networks, precisions_of(device, runtime), params.held_out)


def write_models(
    plan: Plan,
    space: SearchSpace,
    runtime: Backend,
    params: ProfileParams,
    work: Path,
    on_done: OnDone,
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Write the reference, every block, and every network in every precision.

    Returns:
        Files of the blocks by key, and of the networks by `network_key`.
    """
    write_network(space.extreme(block_flops), work / REFERENCE, params.seed)
    files: dict[str, Path] = {}
    for number, (key, block) in enumerate(plan.blocks.items()):
        files[key] = work / f"block{number}.onnx"
        write_block(block, files[key], params.seed)
        on_done(key)
    whole = _write_networks(plan.networks, plan.precisions, runtime, params.seed, work, on_done)
    return files, whole


def profile(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    target: Target,
    params: ProfileParams,
    work: Path,
    on_done: OnDone,
) -> tuple[LatencyTable, float, dict[str, Measurement]]:
    """Measure every block and some whole networks, and fit the device's latency model.

    Args:
        space: the search space.
        name: the device's name.
        device: its settings.
        runtime: its backend.
        target: where it is measured.
        params: measurement settings.
        work: an existing folder for the models.
        on_done: called with a name after each of the `steps`.

    Returns:
        The latency model, the milliseconds of the reference network written to `work`, and all
        measurements: blocks by key, networks by `network_key`.

    Raises:
        MeasurementError: a model cannot be measured.
    """
    wanted = plan(space, device, runtime, params)
    files, whole = write_models(wanted, space, runtime, params, work, on_done)
    reference = work / REFERENCE
    block_rows = target.measure(files, reference, params.protocol, on_done)
    expected_ms = next(row.reference_ms for row in block_rows.values())
    network_rows = target.measure(whole, reference, params.network_protocol, on_done, expected_ms)
    # Normalise both to the reference latency of the second measurement, which is the longer one.
    reference_ms = next(row.reference_ms for row in network_rows.values())
    block_rows = {key: row.rescale(reference_ms) for key, row in block_rows.items()}
    found = Milliseconds(
        {key: row.ms for key, row in block_rows.items()},
        {key: row.ms for key, row in network_rows.items()},
    )
    table = fit_table(name, runtime, space, wanted, found)
    table = with_largest(table, space, device, network_rows)
    return table, reference_ms, block_rows | network_rows


def fit_table(
    name: str, runtime: Backend, space: SearchSpace, plan: Plan, found: Milliseconds
) -> LatencyTable:
    """Fit the latency model on some of the measured networks and evaluate it on the others."""
    sizes = stage_sizes(space.groups)
    fitted, held_out = (
        [
            MeasuredNetwork(
                tuple(block.key for block in architecture.present),
                {p: found.networks[network_key(architecture, p)] for p in plan.precisions},
                stage_features(architecture, sizes),
            )
            for architecture in part
        ]
        for part in split_networks(plan.networks, plan.held_out)
    )
    block_ms = {key: found.blocks[key] for key in plan.blocks}
    block_macs = {key: block_flops(block) for key, block in plan.blocks.items()}
    return fit(name, runtime.name, block_ms, block_macs, fitted, held_out, sizes)


def _write_networks(
    networks: Sequence[Architecture],
    precisions: Sequence[str],
    runtime: Backend,
    seed: int,
    work: Path,
    on_done: OnDone,
) -> dict[str, Path]:
    """Every network in every precision, by `network_key`."""
    files: dict[str, Path] = {}
    for architecture in networks:
        for precision in precisions:
            file = work / f"{network_key(architecture, precision)}.onnx"
            if precision == FLOAT32:
                write_network(architecture, file, seed)
            else:
                float32 = files[network_key(architecture, FLOAT32)]
                write_lower(float32, file, precision, runtime, seed)
            files[network_key(architecture, precision)] = file
            on_done(file.stem)
    return files
