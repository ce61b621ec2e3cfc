"""The section `fleet` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from core.settings import Params


class FleetParams(Params):
    """How networks that several devices may share are found."""

    share: bool
    """Whether the shared networks are delivered; otherwise every device's own."""
    most_lost: float = Field(0.01, ge=0, lt=1)
    """Largest loss of validation accuracy against the best network within a device's budgets."""
    joint: int = Field(4, ge=0)
    """With `share`, networks drawn within the budgets of several devices at once that take part in
    the race."""
