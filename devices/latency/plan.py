"""What a profile measures, the models' files, and the latency model fitted on the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.device import Device
from devices.latency.fit import MeasuredNetwork, fit
from devices.latency.networks import (
    draw_networks,
    split_networks,
    write_block,
    write_network,
    write_network_in,
)
from devices.latency.settings import ProfileParams
from devices.latency.table import FLOAT32, Correction, LatencyTable, network_key
from devices.measure.interleaved import OnDone
from devices.measure.reference import REFERENCE
from devices.runtimes.base import Backend
from devices.runtimes.registry import backend
from models.space.architecture import Architecture, Block
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.space.stage_features import stage_features, stage_sizes


def precisions_of(device: Device) -> tuple[str, ...]:
    """Precisions measured on a device; always includes float32."""
    if device.precision == "auto":
        return backend(device.backend).native_precisions
    return tuple(dict.fromkeys((FLOAT32, device.precision)))


@dataclass(frozen=True)
class Plan:
    """What a profile measures.

    Attributes:
        space: the device's search space.
        blocks: every block of the space, by its key.
        networks: whole networks, from the fewest to the most MACs.
        precisions: in which the networks are measured, float32 first; empty: only blocks.
        held_out: number of networks held out for evaluating the model.
        seed: of the models' random weights.
    """

    space: SearchSpace
    blocks: Mapping[str, Block]
    networks: tuple[Architecture, ...]
    precisions: tuple[str, ...]
    held_out: int
    seed: int

    @classmethod
    def of(cls, space: SearchSpace, device: Device, params: ProfileParams) -> Plan:
        """Select what to measure; equal params draw equal networks."""
        rng = np.random.default_rng(params.seed)
        networks = draw_networks(space, params.networks + params.held_out, rng)
        blocks = {block.key: block for block in space.blocks()}
        precisions = precisions_of(device)
        return cls(space, blocks, networks, precisions, params.held_out, params.seed)

    @property
    def steps(self) -> int:
        """Number of progress steps of a profile: every model is exported, then measured."""
        return 2 * (len(self.blocks) + len(self.networks) * len(self.precisions))

    def write_models(
        self, runtime: Backend, work: Path, on_done: OnDone
    ) -> tuple[dict[str, Path], dict[str, Path]]:
        """Write the reference, every block, and every network in every precision.

        Returns the files of the blocks by key, and of the networks by `network_key`.
        """
        write_network(self.space.extreme(block_flops), work / REFERENCE, self.seed)
        blocks: dict[str, Path] = {}
        for number, (key, block) in enumerate(self.blocks.items()):
            blocks[key] = work / f"block{number}.onnx"
            write_block(block, blocks[key], self.seed)
            on_done(key)
        networks: dict[str, Path] = {}
        for architecture in self.networks:
            for precision in self.precisions:
                key = network_key(architecture, precision)
                networks[key] = write_network_in(precision, architecture, work, runtime, self.seed)
                on_done(key)
        return blocks, networks

    def fit(self, device: str, runtime: Backend, found_ms: Mapping[str, float]) -> LatencyTable:
        """Fit the latency model on some of the measured networks and evaluate it on the others.

        `found_ms` are milliseconds of the blocks by key, and of the networks by `network_key`.
        """
        block_ms = {key: found_ms[key] for key in self.blocks}
        block_macs = {key: block_flops(block) for key, block in self.blocks.items()}
        if not self.precisions:
            uncorrected = {FLOAT32: Correction(1.0, 0.0, 0.0, 0.0)}
            return LatencyTable(device, runtime.name, block_ms, block_macs, uncorrected, {})
        sizes = stage_sizes(self.space.groups)
        fitted, held_out = (
            [
                MeasuredNetwork(
                    tuple(block.key for block in architecture.present),
                    {p: found_ms[network_key(architecture, p)] for p in self.precisions},
                    stage_features(architecture, sizes),
                )
                for architecture in part
            ]
            for part in split_networks(self.networks, self.held_out)
        )
        return fit(device, runtime.name, block_ms, block_macs, fitted, held_out, sizes)
