"""Networks within the budgets of several devices at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, cycle, islice

import numpy as np

from devices.fleet.members import Member
from models.space.architecture import Architecture
from models.space.constrained import descend
from models.space.distribution import Choices, Distribution
from models.space.limits import total_excess
from models.space.space import SearchSpace

_ATTEMPTS = 30
"""Draws per network for several devices."""


def joint_networks(members: Sequence[Member], count: int, seed: int) -> list[Architecture]:
    """Draw at most `count` distinct networks, each within the budgets of several devices at once.

    They are drawn in turn for all devices and for each pair, from the mean of the distributions
    learned by the devices' searches, and changed until they meet the budgets.
    """
    groups = [tuple(members), *(combinations(members, 2) if len(members) > 2 else ())]
    several = [(group, _mean(group)) for group in groups]
    found: list[Architecture] = []
    seen: set[str] = set()
    rng = np.random.default_rng(seed)
    for group, learned in islice(cycle(several), _ATTEMPTS * count if len(members) > 1 else 0):
        if len(found) == count:
            break
        architecture = _draw(group, learned, rng)
        suits = all(member.allows(architecture) for member in group)
        if suits and architecture.id not in seen:
            seen.add(architecture.id)
            found.append(architecture)
    return found


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
