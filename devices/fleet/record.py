"""`fleet.json`: Pareto fronts and shared networks of all devices."""

from __future__ import annotations

from typing import ClassVar

from core.artifact import Artifact, Record
from models.search.candidates import Costs
from models.space.architecture import ArchitectureJson


class FleetNetwork(Record):
    """A candidate network."""

    architecture: ArchitectureJson
    architecture_id: str
    short: str
    val_accuracy: float | None
    """After its training."""
    costs: dict[str, Costs]
    """Per device."""
    within: dict[str, bool]
    """Per device: whether it allows the network."""


class FleetDevice(Record):
    """A device of the fleet; networks by id."""

    axis: str
    """Cost axis of its Pareto front."""
    budget: int | float | None
    """On that axis."""
    own: str
    """The network that its race selected."""
    shared: str
    """The network assigned to it."""
    lost: float | None
    """Validation accuracy lost by that."""
    front: tuple[str, ...]
    """Its Pareto-optimal networks."""


class LeastLoss(Record):
    """The largest loss of any device with this number of networks, at best."""

    networks: int
    most_lost: float | None


class FleetRecord(Artifact):
    """Devices, their candidate networks, and the smallest set that serves all of them."""

    SCHEMA: ClassVar[str] = "netwright/fleet/2"
    FILE: ClassVar[str] = "fleet.json"

    most_lost: float
    """Accuracy that a device may lose by sharing."""
    networks: tuple[FleetNetwork, ...]
    devices: dict[str, FleetDevice]
    shared: dict[str, tuple[str, ...]]
    """Devices of every shared network."""
    least_losses: tuple[LeastLoss, ...]
