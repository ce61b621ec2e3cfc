"""Compute Pareto fronts and shared networks from the rankings of all devices."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.errors import UserError
from core.files import fingerprint, write_bytes, write_json
from core.process import prepare_machine
from core.progress import Progress
from core.schemas import FLEET
from core.settings import read_section
from data.stream import eval_batches
from devices.fleet.joint import Joint
from devices.fleet.members import Member, joint_networks
from devices.fleet.picture import fleet_png
from devices.fleet.read import read_devices
from devices.fleet.settings import FleetParams
from models.nets.evaluate import slice_accuracy
from models.nets.supernet import Supernet
from models.nets.weights import load_into
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.learning import Images, spread


def main() -> None:
    """Parse the flags, collect and evaluate networks, select shared ones, write."""
    flags = _flags()
    params = read_section(flags.params, "fleet", FleetParams)
    fleet = read_devices(flags.params)
    prepare_machine(params.threads, params.seed)
    images = Images.read(flags.data)
    space = SearchSpace.load(flags.space, images.info.image_shape, len(images.info.classes))
    supernet = Supernet(space)
    load_into(supernet, flags.supernet / "supernet.safetensors")
    members = [
        Member.open(
            name, device, space, flags.profile / name, flags.search / name, flags.rank / name
        )
        for name, device in fleet.items()
    ]
    read = (flags.space, flags.data, flags.supernet, flags.profile, flags.search, flags.rank)
    code = inputs_fingerprint("fleet", params, *read)
    settings = {name: device.model_dump(mode="json") for name, device in fleet.items()}
    checkpoint = Checkpoint(flags.out, fingerprint(code, settings))
    networks = collect_networks(members, params)
    require_served(members, networks)
    accuracies = evaluate_networks(networks, supernet, images, params, checkpoint)
    joint = Joint.of(members, networks, accuracies, params.most_lost)
    write_json(flags.out / "fleet.json", FLEET, joint.to_json())
    write_bytes(flags.out / "fleet.png", fleet_png(joint))
    for number, member in enumerate(members):
        joint.choice(number).write(flags.choices / f"{member.name}.json")
    print(summary_line(joint))
    checkpoint.clear()


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


def summary_line(joint: Joint) -> str:
    """Summarise the result in one line."""
    users = "; ".join(" and ".join(joint.users(n)) for n in joint.shared.networks)
    return (
        f"{len(joint.shared.networks)} of {len(joint.networks)} networks would serve all devices "
        f"({users}) and lose at most {max(joint.shared.losses):.4f} of supernet accuracy."
    )


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages fleet", description=__doc__)
    names = ("params", "space", "data", "supernet", "profile", "search", "rank", "choices", "out")
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()
