"""Compute Pareto fronts and shared networks from the rankings of all devices."""

from __future__ import annotations

from pathlib import Path

from core.checkpoint import Checkpoint
from devices.device import Device
from devices.fleet.joint import Joint
from devices.fleet.members import Member
from devices.fleet.networks import collect_networks, evaluate_networks
from devices.fleet.result import FleetResult
from devices.fleet.settings import FleetParams
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.learning import Images


def fleet(
    settings: FleetParams,
    devices: dict[str, Device],
    data: Images,
    space: SearchSpace,
    supernet: Supernet,
    profile: Path,
    search: Path,
    rank: Path,
    checkpoint: Checkpoint,
) -> FleetResult:
    """Collect and evaluate networks of all rankings, and select the fewest for all devices.

    `profile`, `search` and `rank` contain a folder per device.

    Raises:
        UserError: a device allows none of the networks.
    """
    members = [
        Member.open(name, device, space, profile / name, search / name, rank / name)
        for name, device in devices.items()
    ]
    networks = collect_networks(members, settings)
    accuracies = evaluate_networks(networks, supernet, data, settings, checkpoint)
    joint = Joint(members, networks, accuracies, settings.most_lost)
    print(joint.summary())
    return FleetResult(joint)
