"""The section `profile` of `params.yaml`."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from core.settings import Seeded
from devices.measure.interleaved import Protocol
from devices.measure.settings import MeasureParams


class ProfileParams(Seeded, MeasureParams):
    """How a device is profiled."""

    networks: int = Field(16, ge=4)
    """Whole networks the latency model is fitted on."""
    held_out: int = Field(20, ge=1)
    """Whole networks held out for its evaluation."""
    blocks: int = Field(7, ge=1)
    """Interleaved blocks of calls for each of the space's building blocks, at least; never fewer
    than 6."""
    network_blocks: int = Field(9, ge=1)
    """Blocks for each whole network, at least; their errors do not average out."""

    @property
    def network_protocol(self) -> Protocol:
        """How whole networks are measured."""
        return replace(self.protocol, blocks=self.network_blocks)
