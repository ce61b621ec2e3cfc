"""Pareto fronts and shared networks of all devices, and the accuracy lost by sharing.

Axes: N networks, D devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.files import rounded
from devices.fleet.members import Member
from devices.fleet.record import FleetDevice, FleetNetwork, FleetRecord, LeastLoss
from devices.fleet.sharing import (
    Assignment,
    Flags,
    Floats,
    fewest_networks,
    least_losses,
    pareto_front,
)
from models.search.choice import Choice
from models.space.architecture import Architecture


@dataclass(frozen=True)
class Joint:
    """A fleet, its candidate networks, and the smallest set that serves all devices.

    Attributes:
        members: the devices; each allows a network.
        networks: all candidates.
        accuracies_N: validation accuracy of each, after its training.
        own: the network that each device's race selected.
        most_lost: accuracy that a device may lose by sharing.
    """

    members: Sequence[Member]
    networks: Sequence[Architecture]
    accuracies_N: Floats
    own: Sequence[Architecture]
    most_lost: float

    @cached_property
    def within_DN(self) -> Flags:  # noqa: N802
        """Whether a device allows a network."""
        return np.array([[m.allows(network) for network in self.networks] for m in self.members])

    @cached_property
    def shared(self) -> Assignment:
        """The smallest set of networks."""
        return fewest_networks(self.accuracies_N, self.within_DN, self.most_lost)

    @cached_property
    def prices(self) -> dict[int, float]:
        """Per number of networks, the minimum of the largest accuracy loss of any device."""
        return least_losses(self.accuracies_N, self.within_DN)

    def costs(self, device: int) -> Floats:
        """Cost of every network on a device, on the axis of its Pareto front: (N,)."""
        member = self.members[device]
        return np.array([member.costs(network)[member.axis] for network in self.networks])

    def front(self, device: int) -> list[int]:
        """The Pareto-optimal networks of a device's space in cost and accuracy.

        Networks above its budget are included, to show the effect of a larger budget.
        """
        member = self.members[device]
        own = [n for n, network in enumerate(self.networks) if member.contains(network)]
        found = pareto_front(self.costs(device)[own], self.accuracies_N[own])
        return [own[place] for place in found]

    def users(self, network: int) -> list[str]:
        """The devices that are assigned this network."""
        pairs = zip(self.members, self.shared.of_device, strict=True)
        return [member.name for member, assigned in pairs if assigned == network]

    def summary(self) -> str:
        """The result in one line."""
        users = "; ".join(" and ".join(self.users(n)) for n in self.shared.networks)
        return (
            f"{len(self.shared.networks)} of {len(self.networks)} networks would serve all devices "
            f"({users}) and lose at most {max(self.shared.losses):.4f} of validation accuracy."
        )

    def choice(self, device: int) -> Choice:
        """The shared network assigned to a device, and the reason."""
        network, lost = self.shared.of_device[device], self.shared.losses[device]
        others = [n for n in self.users(network) if n != self.members[device].name]
        count, devices = len(self.shared.networks), len(self.members)
        means = f"shared with {' and '.join(others)}" if others else "shared with no other device"
        reason = (
            f"{means}: {count} network{'s' * (count > 1)} for {devices} devices, each of which may "
            f"lose {self.most_lost:g} of validation accuracy by that; this one loses {lost:.4f} "
            f"against the best of {len(self.networks)} networks within its budgets"
        )
        return Choice.of(self.networks[network], reason, None)

    def record(self) -> FleetRecord:
        """The content of `fleet.json`."""
        ids = [network.id for network in self.networks]
        return FleetRecord(
            most_lost=self.most_lost,
            networks=tuple(map(self._network, range(len(self.networks)))),
            devices={
                member.name: FleetDevice(
                    axis=member.axis,
                    budget=member.budget,
                    own=self.own[d].id,
                    shared=ids[self.shared.of_device[d]],
                    lost=rounded(self.shared.losses[d]),
                    front=tuple(ids[n] for n in self.front(d)),
                )
                for d, member in enumerate(self.members)
            },
            shared={ids[n]: tuple(self.users(n)) for n in self.shared.networks},
            least_losses=tuple(
                LeastLoss(networks=count, most_lost=rounded(lost))
                for count, lost in self.prices.items()
            ),
        )

    def _network(self, number: int) -> FleetNetwork:
        network = self.networks[number]
        return FleetNetwork(
            architecture=network,
            architecture_id=network.id,
            short=network.short(),
            val_accuracy=rounded(self.accuracies_N[number]),
            costs={member.name: member.costs(network) for member in self.members},
            within={
                member.name: bool(self.within_DN[d, number])
                for d, member in enumerate(self.members)
            },
        )
