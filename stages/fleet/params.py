"""The section `fleet` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from stages.common.params import Params


class FleetParams(Params):
    """How networks are found and judged that several devices might share."""

    share: bool
    """Whether the devices' trainings take the shared networks. `dvc.yaml` reads it: the stage
    finds the same either way."""
    most_lost: float = Field(ge=0, lt=1)
    """Supernet accuracy that a device may lose against the best found within its budgets."""
    per_device: int = Field(ge=1)
    """Networks of each device's ranking that are looked at, from the best on."""
    joint: int = Field(ge=0)
    """Networks drawn besides, each within the budgets of several devices at once."""
    images: int = Field(ge=1)
    """At most this many validation images per network, spread evenly over the split."""
    recalibration_batches: int = Field(ge=1)
    """Training batches that each network's batch norms are recalibrated on."""
    batch: int = Field(ge=2)
    """Images per batch, in recalibration and evaluation."""
    threads: int = Field(ge=1)
    """Threads of this stage; results depend on it."""
    seed: int = Field(ge=0)
    """Of batches and drawn networks."""
