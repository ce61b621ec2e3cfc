"""One network for several devices: what is worth having, and how few networks are enough.

Axes: N networks, D devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class FleetError(ValueError):
    """Devices that no network suits; the message has their numbers."""


@dataclass(frozen=True)
class Shared:
    """Which networks a fleet needs.

    Attributes:
        networks: their numbers, in order.
        of_device: per device the number of its network.
        losses: per device the accuracy lost against the best network within its budgets.
    """

    networks: tuple[int, ...]
    of_device: tuple[int, ...]
    losses: tuple[float, ...]


def pareto_front(costs_N: Floats, accuracies_N: Floats) -> list[int]:
    """The networks that no other beats in cost and accuracy at once, from the cheapest on.

    Of networks that are equal in both the first one stays.
    """
    order = sorted(range(len(costs_N)), key=lambda n: (costs_N[n], -accuracies_N[n], n))
    front: list[int] = []
    for network in order:
        if not front or accuracies_N[network] > accuracies_N[front[-1]]:
            front.append(network)
    return front


def fewest_networks(accuracies_N: Floats, within_DN: Flags, most_lost: float) -> Shared:
    """The fewest distinct networks with which every device loses at most so much accuracy.

    Exact, by mixed-integer programming. Of the sets of that size it takes the one that loses the
    least accuracy in sum over the devices.

    Args:
        accuracies_N: of every network, fractions.
        within_DN: whether a network keeps all budgets of a device.
        most_lost: accuracy that a device may lose against the best network within its budgets.

    Raises:
        FleetError: some devices have no network within their budgets.
    """
    devices, networks = within_DN.shape
    alone = np.flatnonzero(~within_DN.any(1)).tolist()
    if alone:
        raise FleetError(f"no network keeps the budgets of devices number {alone}.")
    best_D = np.where(within_DN, accuracies_N, -np.inf).max(1)
    losses_DN = best_D[:, None] - accuracies_N
    pairs = np.argwhere(within_DN & (losses_DN <= most_lost + 1e-12))
    losses_P = losses_DN[pairs[:, 0], pairs[:, 1]]
    # All losses together weigh less than one network.
    weight = 0.5 / max(1e-9, float(losses_P.max()) * devices)
    taken_P = _solve(pairs, devices, networks, losses_P * weight)
    chosen = {int(device): int(network) for device, network in pairs[taken_P]}
    of_device = tuple(chosen[device] for device in range(devices))
    losses = tuple(float(losses_DN[device, n]) for device, n in enumerate(of_device))
    return Shared(tuple(sorted(set(of_device))), of_device, losses)


def least_losses(accuracies_N: Floats, within_DN: Flags) -> dict[int, float]:
    """What sharing costs: per number of networks, the least that the worst-off device loses.

    From the fewest networks that are possible at all to one a device, or to the number from which
    no device loses anything.

    Args:
        accuracies_N: of every network, fractions.
        within_DN: whether a network keeps all budgets of a device.

    Raises:
        FleetError: some devices have no network within their budgets.
    """
    fewest = len(fewest_networks(accuracies_N, within_DN, np.inf).networks)
    best_D = np.where(within_DN, accuracies_N, -np.inf).max(1)
    bounds = np.unique((best_D[:, None] - accuracies_N)[within_DN]).tolist()

    @cache
    def needed(at: int) -> int:
        return len(fewest_networks(accuracies_N, within_DN, bounds[at]).networks)

    found: dict[int, float] = {}
    for count in range(fewest, needed(0) + 1):
        # The more may be lost, the fewer networks are needed: the first bound that will do.
        low, high = 0, len(bounds) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if needed(middle) <= count else (middle + 1, high)
        found[count] = bounds[low]
    return found


def _solve(
    pairs: npt.NDArray[np.int64], devices: int, networks: int, prices_P: Floats
) -> npt.NDArray[np.bool_]:
    """Which pairs of a device and a network are taken; a network costs 1, a pair its price."""
    count = len(pairs)
    once = lil_matrix((devices, networks + count))
    built = lil_matrix((count, networks + count))
    for at, (device, network) in enumerate(pairs):
        once[device, networks + at] = 1
        built[at, networks + at], built[at, network] = 1, -1  # taken only if the network is built
    found = milp(
        np.concatenate([np.ones(networks), prices_P]),
        integrality=np.ones(networks + count),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(once.tocsr(), 1, 1),
            LinearConstraint(built.tocsr(), -np.inf, 0),
        ],
    )
    assert found.success, found.message
    taken_P: npt.NDArray[np.bool_] = found.x[networks:] > 0.5
    return taken_P
