import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.fleet.sharing import fewest_networks, least_losses, pareto_front


def brute_force(accuracies: np.ndarray, within: np.ndarray, most_lost: float) -> tuple[int, float]:
    """The smallest number of networks, and the smallest total loss with that number."""
    devices, networks = within.shape
    best = np.where(within, accuracies, -np.inf).max(1)
    for count in range(1, devices + 1):
        sums = []
        for chosen in itertools.combinations(range(networks), count):
            losses = [
                min((best[d] - accuracies[n] for n in chosen if within[d, n]), default=np.inf)
                for d in range(devices)
            ]
            if max(losses) <= most_lost:
                sums.append(sum(losses))
        if sums:
            return count, min(sums)
    raise AssertionError("every device has its own best network")


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 8), st.floats(0, 0.2))
def test_number_and_total_loss_equal_brute_force(
    seed: int, devices: int, networks: int, most_lost: float
) -> None:
    rng = np.random.default_rng(seed)
    accuracies, within = rng.uniform(0.7, 0.9, networks), rng.random((devices, networks)) < 0.5
    within[np.arange(devices), rng.integers(networks, size=devices)] = True
    found = fewest_networks(accuracies, within, most_lost)
    assert all(within[d, n] for d, n in enumerate(found.of_device))
    assert max(found.losses) <= most_lost + 1e-9
    assert set(found.of_device) == set(found.networks)
    count, least = brute_force(accuracies, within, most_lost + 1e-12)
    assert len(found.networks) == count
    assert sum(found.losses) == pytest.approx(least, abs=1e-6)


def test_without_any_loss_every_device_has_its_best() -> None:
    accuracies = np.array([0.9, 0.8, 0.7])
    within = np.array([[False, True, True], [True, True, True], [False, False, True]])
    assert fewest_networks(accuracies, within, 0.0).of_device == (1, 0, 2)
    assert fewest_networks(accuracies, within, 0.2).of_device == (2, 2, 2)


def test_the_pareto_front_is_not_dominated() -> None:
    costs = np.array([3.0, 1.0, 2.0, 2.0, 1.0])
    accuracies = np.array([0.9, 0.7, 0.6, 0.8, 0.7])
    assert pareto_front(costs, accuracies) == [1, 3, 0]
    assert pareto_front(np.array([]), np.array([])) == []


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 8))
def test_the_price_of_sharing_is_the_least_loss_with_so_many_networks(
    seed: int, devices: int, networks: int
) -> None:
    rng = np.random.default_rng(seed)
    accuracies, within = rng.uniform(0.7, 0.9, networks), rng.random((devices, networks)) < 0.5
    within[np.arange(devices), rng.integers(networks, size=devices)] = True
    best = np.where(within, accuracies, -np.inf).max(1)
    prices = least_losses(accuracies, within)
    assert list(prices.values())[-1] == 0
    for count in range(1, devices + 1):
        worst = [
            max(
                min((best[d] - accuracies[n] for n in chosen if within[d, n]), default=np.inf)
                for d in range(devices)
            )
            for chosen in itertools.combinations(range(networks), count)
        ]
        if count in prices:
            assert prices[count] == pytest.approx(min(worst), abs=1e-9)
        elif count < min(prices):
            assert min(worst, default=np.inf) == np.inf
        else:
            assert count > max(prices)
