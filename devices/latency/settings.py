"""The section `profile` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from core.settings import Seeded
from devices.measure.interleaved import Protocol


class ProfileParams(Seeded):
    """How a device is profiled."""

    networks: int = Field(16, ge=4)
    """Whole networks the latency model is fitted on."""
    held_out: int = Field(20, ge=1)
    """Whole networks held out for its evaluation."""
    blocks: int = Field(7, ge=1)
    """Minimum interleaved blocks of calls for each of the space's building blocks."""
    network_blocks: int = Field(9, ge=1)
    """Minimum blocks for each whole network; their errors do not average out."""
    calls: int = Field(20, ge=1)
    """Minimum calls per block; fast models use more."""
    max_interval: float = Field(0.02, gt=0)
    """Blocks are added until half of a latency's 95% interval is at most this share of it."""
    time_limit_s: float = Field(5.0, gt=0)
    """Seconds per model after which no more blocks are added."""

    @property
    def block_protocol(self) -> Protocol:
        """How building blocks are measured."""
        return Protocol(self.blocks, self.calls, self.max_interval, self.time_limit_s)

    @property
    def network_protocol(self) -> Protocol:
        """How whole networks are measured."""
        return Protocol(self.network_blocks, self.calls, self.max_interval, self.time_limit_s)
