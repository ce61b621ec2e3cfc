"""The networks that a fleet selects from, and their accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.checkpoint import Checkpoint
from core.errors import UserError
from core.progress import Progress
from data.stream import eval_batches
from devices.fleet.members import Member, joint_networks
from devices.fleet.settings import FleetParams
from models.nets.evaluate import slice_accuracy
from models.nets.supernet import Supernet
from models.space.architecture import Architecture
from models.training.learning import Images, spread


def collect_networks(members: Sequence[Member], params: FleetParams) -> list[Architecture]:
    """Top-k networks of every ranking and networks drawn for several devices, without repeats."""
    ranked = [network for member in members for network in member.ranked[: params.per_device]]
    known = list({network.id: network for network in ranked}.values())
    rng = np.random.default_rng(params.seed)
    return [*known, *joint_networks(members, params.joint, known, rng)]


def require_served(members: Sequence[Member], networks: Sequence[Architecture]) -> None:
    """Check before evaluation that every device allows one of the networks.

    Raises:
        UserError: a device allows none; the message names it.
    """
    for member in members:
        if not any(member.allows(network) for network in networks):
            raise UserError(
                f"'{member.name}' allows none of the {len(networks)} ranked networks: its budget "
                "has changed since the ranking. Run its stages search and rank again."
            )


def evaluate_networks(
    networks: Sequence[Architecture],
    supernet: Supernet,
    images: Images,
    params: FleetParams,
    checkpoint: Checkpoint,
) -> list[float]:
    """Supernet accuracy of every network on the same images; a checkpoint follows each one.

    The shared supernet is used even for devices whose search trained its own weights, because only
    with it are networks of several devices comparable.
    """
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
    return [known[network.id] for network in networks]
