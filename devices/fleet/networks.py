"""The networks that a fleet selects from, and their accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, cycle, islice

import numpy as np

from core.checkpoint import Checkpoint
from core.errors import UserError
from core.progress import Progress
from data.stream import eval_batches
from devices.fleet.members import Member
from devices.fleet.settings import FleetParams
from devices.fleet.sharing import Floats
from models.nets.evaluate import slice_accuracy
from models.nets.supernet import Supernet
from models.space.architecture import Architecture
from models.space.constrained import descend
from models.space.distribution import Choices, Distribution
from models.space.limits import total_excess
from models.space.space import SearchSpace
from models.training.learning import Images, spread

_ATTEMPTS = 30
"""Draws per network for several devices."""


def collect_networks(members: Sequence[Member], params: FleetParams) -> list[Architecture]:
    """Top-k networks of every ranking and networks drawn for several devices, without repeats.

    Raises:
        UserError: a device allows none of them.
    """
    ranked = [network for member in members for network in member.ranked[: params.per_device]]
    known = list({network.id: network for network in ranked}.values())
    rng = np.random.default_rng(params.seed)
    networks = [*known, *joint_networks(members, params.joint, known, rng)]
    for member in members:
        if not any(map(member.allows, networks)):
            raise UserError(
                f"'{member.name}' allows none of the {len(networks)} ranked networks: its budget "
                "has changed since the ranking. Run its stages search and rank again."
            )
    return networks


def joint_networks(
    members: Sequence[Member], count: int, known: Sequence[Architecture], rng: np.random.Generator
) -> list[Architecture]:
    """Draw at most `count` new networks, each within the budgets of several devices at once.

    They are drawn in turn for all devices and for each pair, from the mean of the distributions
    learned by the devices' searches, and changed until they meet the budgets.
    """
    groups = [tuple(members), *(combinations(members, 2) if len(members) > 2 else ())]
    several = [(group, _mean(group)) for group in groups]
    found: list[Architecture] = []
    seen = {architecture.id for architecture in known}
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


def evaluate_networks(
    networks: Sequence[Architecture],
    supernet: Supernet,
    images: Images,
    params: FleetParams,
    checkpoint: Checkpoint,
) -> Floats:
    """Supernet accuracy of every network on the same images; a checkpoint follows each one."""
    known: dict[str, float] = checkpoint.load() or {}
    calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
    held_out = list(eval_batches(spread(images.val, params.images), images.info, params.batch))
    with Progress("fleet", len(networks), len(known)) as progress:
        for network in networks:
            if network.id not in known:
                found = slice_accuracy(supernet, network, calibration, held_out)
                known[network.id] = found
                checkpoint.save(known)
                progress.update(len(known), {"accuracy": found})
    return np.array([known[network.id] for network in networks])
