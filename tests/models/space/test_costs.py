from pathlib import Path

import numpy as np
import pytest

from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.space.costs import (
    block_flops,
    block_parameters,
    depth,
    flops,
    parameters,
    peak_activation_bytes,
)
from models.space.space import SearchSpace

SPACE = SearchSpace.load(Path("models/spaces/compact.yaml"), (1, 28, 28), 10)


@pytest.mark.parametrize("seed", range(8))
def test_costs_are_the_sums_of_their_blocks(seed: int) -> None:
    architecture = SPACE.sample(np.random.default_rng(seed))
    assert flops(architecture) == sum(block_flops(b) for b in architecture.blocks if b)
    assert parameters(architecture) == sum(block_parameters(b) for b in architecture.blocks if b)


@pytest.mark.parametrize("seed", range(4))
def test_parameters_are_those_of_the_module(seed: int) -> None:
    architecture = SPACE.sample(np.random.default_rng(seed))
    assert parameters(architecture) == sum(p.numel() for p in Subnet(architecture).parameters())


def test_flops_of_a_block_written_out_by_hand() -> None:
    stem = SPACE.sample(np.random.default_rng(0)).blocks[0]
    assert stem is not None
    assert block_flops(stem) == 14 * 14 * 16 * 9  # 28x28x1 to 14x14x16 by 3x3
    assert block_parameters(stem) == 16 * 9 + 2 * 16


def test_the_extremes_of_a_space_bound_every_sample() -> None:
    low = flops(SPACE.extreme(block_flops))
    high = flops(SPACE.extreme(block_flops, largest=True))
    rng = np.random.default_rng(0)
    assert all(low <= flops(SPACE.sample(rng)) <= high for _ in range(50))


def test_depth_counts_searched_layers_that_are_present() -> None:
    largest = SPACE.extreme(block_flops, largest=True)
    smallest = SPACE.extreme(block_flops)
    assert (depth(largest), depth(smallest)) == (12, 4)


@pytest.mark.parametrize("seed", range(4))
def test_the_peak_of_a_network_is_the_maximum_over_its_blocks(seed: int) -> None:
    architecture = SPACE.sample(np.random.default_rng(seed))
    alone = [peak_activation_bytes(Architecture((block,))) for block in architecture.present]
    assert peak_activation_bytes(architecture) == max(alone)
    stem = architecture.present[0]
    assert alone[0] == 4 * (28 * 28 + 14 * 14 * stem.out_channels)
