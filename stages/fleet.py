"""Compute Pareto fronts and shared networks from the race of all devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.errors import UserError
from devices.device import Device
from devices.fleet.joint import Joint
from devices.fleet.members import Member
from devices.fleet.result import FleetResult
from devices.fleet.settings import FleetParams
from models.search.race.ledger import RacedNetworks
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.learning import Images


def fleet(
    settings: FleetParams,
    devices: dict[str, Device],
    data: Images,
    space: SearchSpace,
    profile: Path,
    search: Path,
    rank: Path,
    race: RacedNetworks,
) -> FleetResult:
    """Select the fewest of the networks trained to the end for all devices.

    `profile`, `search` and `rank` contain a folder per device.

    Raises:
        UserError: the race was of other devices or budgets.
    """
    members = [
        Member.open(name, device, space, profile / name, search / name, rank / name)
        for name, device in devices.items()
    ]
    trained = race.finished
    own = [_own(race, member) for member in members]
    joint = Joint(
        members,
        [entry.architecture for entry in trained.values()],
        np.array([entry.standings[-1].accuracy for entry in trained.values()]),
        own,
        settings.most_lost,
    )
    print(joint.summary())
    return FleetResult(joint)


def _own(race: RacedNetworks, member: Member) -> Architecture:
    """The network that a device's race selected.

    Raises:
        UserError: there is none, or the device's budget excludes it.
    """
    won = race.finished.get(race.ledger.winners.get(member.name, ""))
    if won is None or not member.allows(won.architecture):
        raise UserError(
            f"'{member.name}' was in no race with its present budget. Run the stage race again."
        )
    return won.architecture
