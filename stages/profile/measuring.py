"""From a space and a device to a latency model: export, measure, fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from devices.backends import Backend
from devices.device import Device
from devices.latency import LatencyTable
from devices.latency_fit import MeasuredNetwork, fit
from devices.measure import Measurement, measure
from models.architecture import Architecture
from models.operators import macs
from models.space import SearchSpace
from stages.common.clock import REFERENCE
from stages.profile.networks import (
    draw_networks,
    split_networks,
    write_block,
    write_lower,
    write_network,
)
from stages.profile.params import ProfileParams

FLOAT32 = "float32"
OnDone = Callable[[str], None]


def precisions_of(device: Device, runtime: Backend) -> tuple[str, ...]:
    """Precisions whose latency matters on a device; float32 always does."""
    if device.precision == "auto":
        return runtime.native_precisions
    return tuple(dict.fromkeys((FLOAT32, device.precision)))


def steps(space: SearchSpace, device: Device, runtime: Backend, params: ProfileParams) -> int:
    """How many steps a profile has: every model is made, then measured."""
    networks = (params.networks + params.held_out) * len(precisions_of(device, runtime))
    return 2 * (len(space.blocks()) + networks)


def profile(
    space: SearchSpace,
    name: str,
    device: Device,
    runtime: Backend,
    params: ProfileParams,
    work: Path,
    on_done: OnDone,
) -> tuple[LatencyTable, float]:
    """Measure every block and some whole networks, and fit the device's latency model.

    Args:
        space: the architectures whose latency is to be predicted.
        name: the device's name.
        device: its settings.
        runtime: its backend, which must run here.
        params: how to measure.
        work: an existing folder for the models.
        on_done: called with a name after each of the `steps`.

    Returns:
        The latency model, and the milliseconds of the reference network that `work` then holds.

    Raises:
        MeasurementError: a measurement is too noisy.
    """
    reference = work / REFERENCE
    write_network(space.extreme(macs), reference, params.seed)
    blocks = {block.key: block for block in space.blocks()}
    files: dict[str, Path] = {}
    for number, (key, block) in enumerate(blocks.items()):
        files[key] = work / f"block{number}.onnx"
        write_block(block, files[key], params.seed)
        on_done(key)
    rng = np.random.default_rng(params.seed)
    networks = draw_networks(space, params.networks + params.held_out, rng)
    precisions = precisions_of(device, runtime)
    whole = _write_networks(networks, precisions, runtime, params.seed, work, on_done)

    threads = device.threads
    alone = measure(runtime.name, files, reference, threads, params.block_protocol, on_done)
    together = measure(runtime.name, whole, reference, threads, params.network_protocol, on_done)
    fitted, judged = (
        _measured(part, precisions, together) for part in split_networks(networks, params.held_out)
    )
    # One clock for both sessions: the second one's, which is the longer.
    reference_ms = next(found.ms / found.ratio for found in together.values())
    block_ms = {key: alone[key].ratio * reference_ms for key in blocks}
    block_macs = {key: macs(block) for key, block in blocks.items()}
    table = fit(name, runtime.name, block_ms, block_macs, fitted, judged)
    return table, reference_ms


def _write_networks(
    networks: Sequence[Architecture],
    precisions: Sequence[str],
    runtime: Backend,
    seed: int,
    work: Path,
    on_done: OnDone,
) -> dict[str, Path]:
    """Every network in every precision, by `_key`."""
    files: dict[str, Path] = {}
    for architecture in networks:
        for precision in precisions:
            file = work / f"{_key(architecture, precision)}.onnx"
            if precision == FLOAT32:
                write_network(architecture, file, seed)
            else:
                float32 = files[_key(architecture, FLOAT32)]
                write_lower(float32, file, precision, runtime, seed)
            files[_key(architecture, precision)] = file
            on_done(file.stem)
    return files


def _measured(
    networks: Sequence[Architecture], precisions: Sequence[str], found: dict[str, Measurement]
) -> list[MeasuredNetwork]:
    return [
        MeasuredNetwork(
            tuple(block.key for block in architecture.present),
            {precision: found[_key(architecture, precision)].ms for precision in precisions},
        )
        for architecture in networks
    ]


def _key(architecture: Architecture, precision: str) -> str:
    return f"{precision}-{architecture.id}"
