"""From every device's ranking to fronts, shared networks and, if wanted, what is trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import data
import devices
import models
from data.stream import eval_batches
from models.architecture import Architecture
from models.evaluate import slice_accuracy
from models.fleet import FleetError
from models.space import SearchSpace
from models.supernet import Supernet
from models.weights import load_into
from stages.common.checkpoint import Checkpoint
from stages.common.devices import read_devices
from stages.common.files import fingerprint, write_bytes, write_json
from stages.common.learning import Images, inputs_fingerprint, spread
from stages.common.params import read_section
from stages.common.progress import Progress
from stages.common.runtime import prepare_machine
from stages.common.schemas import FLEET
from stages.fleet.joint import Joint
from stages.fleet.members import Member, joint_networks
from stages.fleet.params import FleetParams
from stages.fleet.picture import fleet_png


def main() -> None:
    """Parse the flags, gather networks, judge them, share them out, write."""
    flags = _flags()
    params = read_section(flags.params, "fleet", FleetParams)
    fleet = read_devices(flags.params)
    prepare_machine(params.threads, params.seed)
    images = Images.open(flags.data)
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
    code = inputs_fingerprint("fleet", params, *read, packages=(models, data, devices))
    settings = {name: device.model_dump(mode="json") for name, device in fleet.items()}
    checkpoint = Checkpoint(flags.out, fingerprint(code, settings))
    networks = gather(members, params)
    require_served(members, networks)
    accuracies = judge(networks, supernet, images, params, checkpoint)
    joint = Joint.of(members, networks, accuracies, params.most_lost)
    write_json(flags.out / "fleet.json", FLEET, joint.to_json())
    write_bytes(flags.out / "fleet.png", fleet_png(joint))
    for number, member in enumerate(members):
        joint.choice(number).write(flags.choices / f"{member.name}.json")
    print(said(joint))
    checkpoint.clear()


def gather(members: Sequence[Member], params: FleetParams) -> list[Architecture]:
    """The best of every ranking, and networks for several devices; none of them twice."""
    ranked = [network for member in members for network in member.ranked[: params.per_device]]
    known = list({network.id: network for network in ranked}.values())
    rng = np.random.default_rng(params.seed)
    return [*known, *joint_networks(members, params.joint, known, rng)]


def require_served(members: Sequence[Member], networks: Sequence[Architecture]) -> None:
    """Stop before any judging if a device allows none of the networks.

    Raises:
        FleetError: the message names the device.
    """
    for member in members:
        if not any(member.allows(network) for network in networks):
            raise FleetError(
                f"'{member.name}' allows none of the {len(networks)} networks that the rankings "
                "hold: its budget has changed since. Run its stages search and rank again."
            )


def judge(
    networks: Sequence[Architecture],
    supernet: Supernet,
    images: Images,
    params: FleetParams,
    checkpoint: Checkpoint,
) -> list[float]:
    """The supernet accuracy of every network, all on the same images; each one is saved.

    A device whose search taught it weights of its own is judged by the common ones too: they are
    the only ones in which networks of several devices can be compared.
    """
    known: dict[str, float] = checkpoint.load() or {}
    calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
    judged_on = list(eval_batches(spread(images.val, params.images), images.info, params.batch))
    with Progress("fleet", len(networks), len(known)) as progress:
        for network in networks:
            if network.id not in known:
                found = slice_accuracy(supernet, network, calibration, judged_on)
                known[network.id] = found
                checkpoint.save(known)
                progress.update(len(known), {"accuracy": found})
    return [known[network.id] for network in networks]


def said(joint: Joint) -> str:
    """The result in one line."""
    users = "; ".join(" and ".join(joint.users(n)) for n in joint.shared.networks)
    return (
        f"{len(joint.shared.networks)} of {len(joint.networks)} networks would serve all devices "
        f"({users}) and lose at most {max(joint.shared.losses):.4f} of supernet accuracy."
    )


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.fleet", description=__doc__)
    names = ("params", "space", "data", "supernet", "profile", "search", "rank", "choices", "out")
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()
