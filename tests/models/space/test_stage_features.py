"""Features of a network per stage."""

from pathlib import Path

import numpy as np
import pytest

from models.space.costs import block_flops, depth
from models.space.space import SearchSpace
from models.space.stage_features import stage_features, stage_sizes

SPACE = Path(__file__).parents[3] / "models/spaces/compact.yaml"


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace.load(SPACE, (1, 28, 28), 10)


def test_the_stages_are_those_of_the_space(space: SearchSpace) -> None:
    assert stage_sizes(space.groups) == tuple(stage.layers for stage in space.spec.stages)


def test_features_equal_hand_counts(space: SearchSpace) -> None:
    sizes = stage_sizes(space.groups)
    for seed in range(30):
        architecture = space.sample(np.random.default_rng(seed))
        found = stage_features(architecture, sizes)
        assert sum(found[f"stage{n + 1}.depth"] for n in range(len(sizes))) == depth(architecture)
        layers = list(architecture.layers)
        for number, size in enumerate(sizes):
            here = [block for block in layers[:size] if block is not None]
            layers = layers[size:]
            name = f"stage{number + 1}"
            kernels = [block.options["kernel"] for block in here]
            assert found[f"{name}.kernel"] == pytest.approx(np.mean(kernels))
            assert found[f"{name}.first kernel"] == kernels[0]
            assert found[f"{name}.depth x kernel"] == sum(kernels)
            assert found[f"{name}.width"] == here[-1].out_channels
            assert found[f"{name}.size"] == here[-1].out_size
            macs = sum(block_flops(block) for block in here) / 1e6
            assert found[f"{name}.million MACs"] == pytest.approx(macs)


def test_every_network_of_a_space_has_the_same_features(space: SearchSpace) -> None:
    sizes = stage_sizes(space.groups)
    names = {
        tuple(stage_features(space.sample(np.random.default_rng(seed)), sizes))
        for seed in range(20)
    }
    assert len(names) == 1
