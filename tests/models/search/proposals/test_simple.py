from collections.abc import Callable

import numpy as np
import pytest

from models.search.proposals.numbers import layers
from models.search.proposals.simple import band_sample, band_samples, deepest, largest, width_scaled
from models.space.architecture import Architecture
from models.space.costs import flops, parameters
from models.space.file import PRESETS
from models.space.limits import Limit
from models.space.space import SearchSpace
from tests.spaces import all_architectures

PROPOSERS = (band_sample, deepest, largest, width_scaled)
Proposer = Callable[..., Architecture | None]
WITHIN = [Limit("flops", 4e6, flops)]


@pytest.fixture(scope="module")
def compact() -> SearchSpace:
    return SearchSpace.load(PRESETS / "compact.yaml", (1, 28, 28), 10)


@pytest.fixture(scope="module")
def macro() -> SearchSpace:
    return SearchSpace.load(PRESETS / "macro.yaml", (3, 32, 32), 10)


@pytest.fixture(scope="module")
def costs(macro: SearchSpace) -> np.ndarray:
    return np.array([[flops(one), layers(one)] for one in all_architectures(macro)])


@pytest.mark.parametrize("propose", PROPOSERS)
@pytest.mark.parametrize("limits", [WITHIN, [*WITHIN, Limit("parameters", 130e3, parameters)]])
def test_proposals_fill_the_tightest_budget(
    propose: Proposer, limits: list[Limit], compact: SearchSpace
) -> None:
    found = propose(compact, limits, np.random.default_rng(0))
    assert found is not None
    assert 0.9 <= max(limit.cost(found) / limit.budget for limit in limits) <= 1
    assert found == propose(compact, limits, np.random.default_rng(0))
    compact.choices(found)  # raises for a network of another space


@pytest.mark.slow
@pytest.mark.parametrize("propose", PROPOSERS)
def test_no_network_within_the_budgets_is_no_proposal(
    propose: Proposer, compact: SearchSpace
) -> None:
    assert propose(compact, [Limit("flops", 1e3, flops)], np.random.default_rng(0)) is None


@pytest.mark.parametrize("propose", [largest, deepest])
def test_a_budget_above_the_space_gives_its_largest_network(
    propose: Proposer, compact: SearchSpace
) -> None:
    most = compact.extreme(flops.block, largest=True)
    for limits in ([], [Limit("flops", 1e9, flops)]):
        assert propose(compact, limits, np.random.default_rng(0)) == most


@pytest.mark.parametrize("budget", [40e6, 50e6, 80e6])
def test_the_largest_and_the_deepest_of_a_whole_band_are_found(
    budget: float, macro: SearchSpace, costs: np.ndarray
) -> None:
    limits, rng = [Limit("flops", budget, flops)], np.random.default_rng(0)
    inside = costs[(costs[:, 0] <= budget) & (costs[:, 0] >= 0.9 * budget)]
    found = largest(macro, limits, rng)
    assert found is not None
    assert flops(found) >= 0.99 * inside[:, 0].max()  # a local search
    found = deepest(macro, limits, rng)
    assert found is not None
    assert layers(found) == inside[:, 1].max()
    assert flops(found) >= 0.99 * inside[inside[:, 1] == inside[:, 1].max(), 0].max()


def test_scaled_widths_keep_the_middle_operators(compact: SearchSpace) -> None:
    found = width_scaled(compact, WITHIN, np.random.default_rng(0))
    assert found is not None
    for group, choice in zip(compact.groups, compact.choices(found), strict=True):
        if not group.name.endswith("channels"):
            assert choice == len(group.candidates) // 2


def test_a_middle_network_that_no_width_brings_into_the_band_is_no_proposal(
    macro: SearchSpace,
) -> None:
    limits = [Limit("flops", 50e6, flops)]  # the widths of this space are fixed
    assert width_scaled(macro, limits, np.random.default_rng(0)) is None


def test_samples_of_the_band_are_distinct(compact: SearchSpace) -> None:
    found = band_samples(compact, WITHIN, np.random.default_rng(0), 8)
    assert len({one.id for one in found}) == 8
