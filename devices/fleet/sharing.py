"""Sharing networks between devices: Pareto front and minimal sets of networks.

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


@dataclass(frozen=True)
class Assignment:
    """The networks of a fleet, and which device uses which.

    Attributes:
        networks: indices of the networks, sorted.
        of_device: network index per device.
        losses: accuracy loss per device, relative to the best network within its budgets.
    """

    networks: tuple[int, ...]
    of_device: tuple[int, ...]
    losses: tuple[float, ...]


def pareto_front(costs_N: Floats, accuracies_N: Floats) -> list[int]:
    """Indices of the Pareto-optimal networks (cost, accuracy), by increasing cost.

    Of equal networks the first one is kept.
    """
    order = sorted(range(len(costs_N)), key=lambda n: (costs_N[n], -accuracies_N[n], n))
    front: list[int] = []
    for network in order:
        if not front or accuracies_N[network] > accuracies_N[front[-1]]:
            front.append(network)
    return front


def fewest_networks(accuracies_N: Floats, within_DN: Flags, most_lost: float) -> Assignment:
    """The smallest set of networks such that no device loses more than `most_lost` accuracy.

    Exact, by mixed-integer programming. Among sets of that size, the one with the smallest total
    accuracy loss is returned. Losses are relative to the best network within a device's budgets,
    which `within_DN` says; every device has one.
    """
    devices, networks = within_DN.shape
    best_D = np.where(within_DN, accuracies_N, -np.inf).max(1)
    losses_DN = best_D[:, None] - accuracies_N
    pairs = np.argwhere(within_DN & (losses_DN <= most_lost + 1e-12))
    losses_P = losses_DN[pairs[:, 0], pairs[:, 1]]
    # Scaled so that the total loss weighs less than one network.
    weight = 0.5 / max(1e-9, float(losses_P.max()) * devices)
    taken_P = _solve(pairs, devices, networks, losses_P * weight)
    chosen = {int(device): int(network) for device, network in pairs[taken_P]}
    of_device = tuple(chosen[device] for device in range(devices))
    losses = tuple(float(losses_DN[device, n]) for device, n in enumerate(of_device))
    return Assignment(tuple(sorted(set(of_device))), of_device, losses)


def least_losses(accuracies_N: Floats, within_DN: Flags) -> dict[int, float]:
    """Per number of networks, the smallest possible maximum accuracy loss of a device.

    From the smallest feasible number of networks to the smallest number without any loss.
    Arguments as of `fewest_networks`.
    """
    fewest = len(fewest_networks(accuracies_N, within_DN, np.inf).networks)
    best_D = np.where(within_DN, accuracies_N, -np.inf).max(1)
    bounds = np.unique((best_D[:, None] - accuracies_N)[within_DN]).tolist()

    @cache
    def needed(at: int) -> int:
        return len(fewest_networks(accuracies_N, within_DN, bounds[at]).networks)

    found: dict[int, float] = {}
    for count in range(fewest, needed(0) + 1):
        # Binary search: the number of networks decreases with the allowed loss.
        low, high = 0, len(bounds) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if needed(middle) <= count else (middle + 1, high)
        found[count] = bounds[low]
    return found


def _solve(
    pairs: npt.NDArray[np.int64], devices: int, networks: int, costs_P: Floats
) -> npt.NDArray[np.bool_]:
    """Solve the assignment: each used network costs 1, each (device, network) pair its cost."""
    count = len(pairs)
    once = lil_matrix((devices, networks + count))
    built = lil_matrix((count, networks + count))
    pair_P = np.arange(count)
    once[pairs[:, 0], networks + pair_P] = 1
    built[pair_P, networks + pair_P], built[pair_P, pairs[:, 1]] = 1, -1  # a pair needs its network
    found = milp(
        np.concatenate([np.ones(networks), costs_P]),
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
