"""The section `fleet` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from core.settings import Threaded


class FleetParams(Threaded):
    """How networks that several devices may share are found and evaluated."""

    share: bool
    """Whether the shared networks are trained. Only `dvc.yaml` reads it; the result of this stage
    does not depend on it."""
    most_lost: float = Field(0.01, ge=0, lt=1)
    """Largest loss of supernet accuracy against the best network within a device's budgets."""
    per_device: int = Field(6, ge=1)
    """Top-k networks of each device's ranking that are candidates."""
    joint: int = Field(8, ge=0)
    """Additional networks, each drawn within the budgets of several devices at once."""
    images: int = Field(2000, ge=1)
    """At most this many validation images per network, spread evenly over the split."""
    recalibration_batches: int = Field(4, ge=1)
    """Training batches that each network's batch norms are recalibrated on."""
    batch: int = Field(256, ge=2)
    """Images per batch, in recalibration and evaluation."""
