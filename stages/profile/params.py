"""The section `profile` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from devices.measure import Protocol
from stages.common.params import Params


class ProfileParams(Params):
    """How a device is measured."""

    networks: int = Field(ge=4)
    """Whole networks the latency model is fitted on."""
    held_out: int = Field(ge=1)
    """Whole networks it is judged on."""
    blocks: int = Field(ge=1)
    """Least interleaved blocks of calls for each of the space's building blocks."""
    network_blocks: int = Field(ge=1)
    """Likewise for each whole network; their errors do not average out."""
    calls: int = Field(ge=1)
    """Least calls per block; quick models get more."""
    max_interval: float = Field(0.02, gt=0)
    """Blocks are added until half of a latency's 95% interval is at most this share of it."""
    time_limit_s: float = Field(5.0, gt=0)
    """Seconds per model after which no more are added, and the interval stays as it is."""
    seed: int = Field(ge=0)
    """Of the networks that are drawn."""

    @property
    def block_protocol(self) -> Protocol:
        """How building blocks are measured."""
        return Protocol(self.blocks, self.calls, self.max_interval, self.time_limit_s)

    @property
    def network_protocol(self) -> Protocol:
        """How whole networks are measured."""
        return Protocol(self.network_blocks, self.calls, self.max_interval, self.time_limit_s)
