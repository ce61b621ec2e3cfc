"""The devices of a fleet: what each allows, what its search found, and networks for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from devices.device import Device
from models.architecture import Architecture
from models.constrained import descend
from models.distribution import SCHEMA as DISTRIBUTION
from models.distribution import Choices, Distribution
from models.space import SearchSpace
from models.space_spec import SpaceError
from stages.common.budgets import (
    Limit,
    limits,
    predicted_costs,
    read_latency_table,
    total_excess,
    with_milliseconds,
)
from stages.common.device_space import device_space
from stages.common.files import read_json
from stages.common.schemas import CANDIDATES, RANKED

_ROUNDING = 1e-5
"""Excess that a margin read from a file, with six digits, may cause."""
_ATTEMPTS = 30
"""Draws for each network that several devices might share."""


@dataclass(frozen=True)
class Member:
    """One device.

    Attributes:
        name: its name.
        device: its settings, a share of latency as milliseconds.
        space: what it is searched in.
        limits: its budgets, the latency's less the margin that its search kept.
        costs: what a network costs on it.
        ranked: networks of its ranking, best first.
        distribution: content of `distribution.json`; None where its search has none.
    """

    name: str
    device: Device
    space: SearchSpace
    limits: tuple[Limit, ...]
    costs: Callable[[Architecture], dict[str, float | None]]
    ranked: tuple[Architecture, ...]
    distribution: Mapping[str, Any] | None

    @classmethod
    def open(
        cls, name: str, device: Device, whole: SearchSpace, profile: Path, search: Path, rank: Path
    ) -> Member:
        """Read what the device's stages left in these folders.

        Raises:
            FileFormatError: a file is missing or of another version.
        """
        table = read_latency_table(profile)
        candidates = read_json(search / "candidates.json", CANDIDATES)
        by_id = {
            row["architecture_id"]: Architecture.from_json(row["architecture"])
            for row in candidates["candidates"]
        }
        ranking = read_json(rank / "ranking.json", RANKED)["ranked"]
        saved = search / "distribution.json"
        return cls(
            name,
            with_milliseconds(device, table),
            device_space(whole, name, device).space,
            limits(device, table, candidates["latency_margin"] or 0.0),
            predicted_costs(device, table),
            tuple(by_id[row["architecture_id"]] for row in ranking),
            read_json(saved, DISTRIBUTION) if saved.is_file() else None,
        )

    def allows(self, architecture: Architecture) -> bool:
        """Whether a network lies in the device's space and keeps all its budgets."""
        return self.knows(architecture) and total_excess(architecture, self.limits) <= _ROUNDING

    def knows(self, architecture: Architecture) -> bool:
        """Whether a network lies in the device's space, whatever it costs."""
        try:
            self.space.choices(architecture)
        except SpaceError:
            return False
        return True

    @property
    def axis(self) -> str:
        """The cost that its front is drawn over: its first budget's, or FLOPs."""
        return self.limits[0].key if self.limits else "flops"

    @property
    def budget(self) -> float | None:
        """The budget on that axis, whole; None where the device has none that is predicted."""
        return getattr(self.device.budget, self.axis) if self.limits else None


def joint_networks(
    members: Sequence[Member], count: int, known: Sequence[Architecture], rng: np.random.Generator
) -> list[Architecture]:
    """New networks, each within the budgets of several devices at once.

    They are drawn for all devices together and for each pair in turn, from the mean of what the
    devices' searches learnt, and walk into the budgets where they lie outside.

    Args:
        members: the devices.
        count: how many networks at most; small spaces may have fewer.
        known: networks that are none of them.
        rng: of the draws.
    """
    groups = [tuple(members), *(combinations(members, 2) if len(members) > 2 else ())]
    several = [(group, _mean(group)) for group in groups]
    found: dict[str, Architecture] = {}
    seen = {architecture.id for architecture in known}
    for group, learnt in islice(cycle(several), _ATTEMPTS * count if len(members) > 1 else 0):
        if len(found) == count:
            break
        architecture = _draw(group, learnt, rng)
        suits = all(member.allows(architecture) for member in group)
        if suits and architecture.id not in seen:
            seen.add(architecture.id)
            found[architecture.id] = architecture
    return list(found.values())


def _draw(group: Sequence[Member], learnt: Distribution, rng: np.random.Generator) -> Architecture:
    """One network, likely to suit all devices of the group."""
    space = _narrowest(group)

    def excess(choices: Choices) -> float:
        architecture = space.architecture(choices)
        return sum(total_excess(architecture, member.limits) for member in group)

    return space.architecture(descend(space.groups, learnt.sample(rng), excess, rng))


def _narrowest(group: Sequence[Member]) -> SearchSpace:
    """The space of the device with the fewest networks to choose from."""
    return min((member.space for member in group), key=SearchSpace.count)


def _mean(group: Sequence[Member]) -> Distribution:
    """The mean, by logits, of what the searches learnt; uniform where none did."""
    space = _narrowest(group)
    saved = [member.distribution for member in group if member.distribution is not None]
    uniform = Distribution(space.groups, "joint")
    learnt = [Distribution.from_json(one, space.groups)[0].as_form("joint") for one in saved]
    if not learnt:
        return uniform
    return uniform.with_logits(np.mean([one.logits for one in learnt], axis=0))
