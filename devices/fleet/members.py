"""The devices of a fleet, their search results, and networks drawn for several devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from core.files import read_json
from devices.device import Device
from devices.latency.budgets import limits, predicted_costs, read_latency_table, with_milliseconds
from devices.latency.device_space import device_space
from models.search.candidates import Candidates
from models.search.rank.result import Ranking
from models.space.architecture import Architecture
from models.space.constrained import descend
from models.space.distribution import SCHEMA as DISTRIBUTION
from models.space.distribution import Choices, Distribution
from models.space.limits import Limit, total_excess
from models.space.space import SearchSpace
from models.space.spec import SpaceError

_ROUNDING = 1e-5
"""Excess that may result from a margin rounded to six digits in a file."""
_ATTEMPTS = 30
"""Draws per network for several devices."""


@dataclass(frozen=True)
class Member:
    """One device.

    Attributes:
        name: its name.
        device: its settings, with a latency share converted to milliseconds.
        space: its search space.
        limits: its budgets, the latency budget reduced by the margin of its search.
        costs: costs of a network on it.
        ranked: networks of its ranking, best first.
        distribution: content of `distribution.json`; None if its search has none.
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
        """Read the outputs of the device's stages.

        Raises:
            FileFormatError: a file is missing or of another version.
        """
        table = read_latency_table(profile)
        found = Candidates.read(search)
        by_id = {one.architecture_id: one.architecture for one in found.candidates}
        saved = search / "distribution.json"
        return cls(
            name,
            with_milliseconds(device, table),
            device_space(whole, name, device).space,
            limits(device, table, found.latency_margin or 0.0),
            predicted_costs(device, table),
            tuple(by_id[one.architecture_id] for one in Ranking.read(rank).ranked),
            read_json(saved, DISTRIBUTION) if saved.is_file() else None,
        )

    def allows(self, architecture: Architecture) -> bool:
        """Whether a network is in the device's space and meets all its budgets."""
        return self.contains(architecture) and total_excess(architecture, self.limits) <= _ROUNDING

    def contains(self, architecture: Architecture) -> bool:
        """Whether a network is in the device's space, regardless of budgets."""
        try:
            self.space.choices(architecture)
        except SpaceError:
            return False
        return True

    @property
    def axis(self) -> str:
        """The cost axis of its Pareto front: that of its first budget, or FLOPs."""
        return self.limits[0].key if self.limits else "flops"

    @property
    def budget(self) -> float | None:
        """The budget on that axis, without margin; None if there is no predicted one."""
        return getattr(self.device.budget, self.axis) if self.limits else None


def joint_networks(
    members: Sequence[Member], count: int, known: Sequence[Architecture], rng: np.random.Generator
) -> list[Architecture]:
    """Draw new networks, each within the budgets of several devices at once.

    They are drawn in turn for all devices and for each pair, from the mean of the distributions
    learned by the devices' searches, and changed until they meet the budgets.

    Args:
        members: the devices.
        count: maximum number of networks; small spaces may have fewer.
        known: networks to exclude.
        rng: of the draws.
    """
    groups = [tuple(members), *(combinations(members, 2) if len(members) > 2 else ())]
    several = [(group, _mean(group)) for group in groups]
    found: dict[str, Architecture] = {}
    seen = {architecture.id for architecture in known}
    for group, learned in islice(cycle(several), _ATTEMPTS * count if len(members) > 1 else 0):
        if len(found) == count:
            break
        architecture = _draw(group, learned, rng)
        suits = all(member.allows(architecture) for member in group)
        if suits and architecture.id not in seen:
            seen.add(architecture.id)
            found[architecture.id] = architecture
    return list(found.values())


def _draw(group: Sequence[Member], learned: Distribution, rng: np.random.Generator) -> Architecture:
    """Draw one network that is likely within the budgets of all devices of the group."""
    space = _narrowest(group)

    def excess(choices: Choices) -> float:
        architecture = space.architecture(choices)
        return sum(total_excess(architecture, member.limits) for member in group)

    return space.architecture(descend(space.groups, learned.sample(rng), excess, rng))


def _narrowest(group: Sequence[Member]) -> SearchSpace:
    """The smallest space among the devices."""
    return min((member.space for member in group), key=SearchSpace.count)


def _mean(group: Sequence[Member]) -> Distribution:
    """The mean logits of the searches' distributions; uniform if there are none."""
    space = _narrowest(group)
    saved = [member.distribution for member in group if member.distribution is not None]
    uniform = Distribution(space.groups, "joint")
    learned = [Distribution.from_json(one, space.groups)[0].as_form("joint") for one in saved]
    if not learned:
        return uniform
    return uniform.with_logits(np.mean([one.logits for one in learned], axis=0))
