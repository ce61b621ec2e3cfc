"""Look-up tables equal the costs computed block by block."""

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch

from models.nets.indicators import bn_indicator, bn_table
from models.nets.shared_cells import SlicedNorm
from models.nets.supernet import Supernet
from models.space import costs
from models.space.block_tables import (
    CHUNK,
    block_table,
)
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from tests.spaces import architecture_at, sample_choices

PRESETS = Path("models/spaces")
# Everything that determines a block: resolutions, widths, strides, skips, identities.
EVERYTHING = """
name: everything
sizes: [8, 64]
resolutions: [9, 14]
stem: {operator: conv, channels: 8, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 2, stride: 1, channels: [12, 8], operators: {identity: {}, conv: {kernel: [1, 3]}}}
  - {layers: 3, stride: 2, channels: [16, 8], min_layers: 2,
     operators: {mbconv: {kernel: [3], expansion: [1, 3], squeeze_excite: [0, 1]},
                 identity: {}}}
  - {layers: 2, stride: 1, channels: [16], skip: true, operators: {shufflenet_unit: {kernel: [3]}}}
head: {operator: classifier, settings: {width: 24}}
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    file = tmp_path_factory.mktemp("space") / "everything.yaml"
    file.write_text(EVERYTHING)
    return SearchSpace.load(file, (3, 16, 16), 5)


def preset(name: str) -> SearchSpace:
    shape = {"compact": (1, 28, 28), "macro": (3, 32, 32), "wide": (3, 32, 32)}.get(
        name, (3, 224, 224)
    )
    return SearchSpace.load(PRESETS / f"{name}.yaml", shape, 10)


def all_choices(space: SearchSpace) -> np.ndarray:
    sizes = [len(group.candidates) for group in space.groups]
    return np.indices(sizes, dtype=np.uint8).reshape(len(sizes), -1).T


def uneven(supernet: Supernet) -> Supernet:
    generator = torch.Generator().manual_seed(1)
    for module in supernet.modules():
        if isinstance(module, SlicedNorm):
            torch.nn.init.normal_(module.weight, generator=generator)
    return supernet


def test_every_network_of_a_space_costs_what_its_blocks_do(everything: SearchSpace) -> None:
    choices = all_choices(everything)
    flops = costs.flops.table(everything)(choices)
    parameters = costs.parameters.table(everything)(choices)
    peaks = costs.peak_activation_bytes.table(everything)(choices)
    depths = costs.depth.table(everything)(choices)
    some = range(0, everything.count(), 61)
    for number in some:
        network = architecture_at(everything, number)
        assert flops[number] == costs.flops(network)
        assert parameters[number] == costs.parameters(network)
        assert peaks[number] == costs.peak_activation_bytes(network)
        assert depths[number] == costs.depth(network)
    assert flops.dtype == np.int64
    assert len(set(depths.tolist())) > 3


@pytest.mark.parametrize("name", ["compact", "macro", "wide", "bn-nas", "fox", "fbnet"])
def test_presets_cost_what_their_blocks_do(name: str) -> None:
    space = preset(name)
    choices = sample_choices(space, 20, np.random.default_rng(0))
    networks = [space.architecture(row) for row in choices.tolist()]
    assert [space.choices(network) for network in networks] == [*map(tuple, choices.tolist())]
    found = costs.flops.table(space)(choices).tolist()
    assert found == [costs.flops(network) for network in networks]
    if name != "fbnet":  # thousands of blocks, whose peaks take a millisecond each
        peaks = costs.peak_activation_bytes.table(space)(choices).tolist()
        assert peaks == [costs.peak_activation_bytes(network) for network in networks]


def test_floats_are_summed_in_the_order_of_the_blocks(everything: SearchSpace) -> None:
    def cost(position: int, block: object) -> float:
        return (crc32(repr(block).encode()) % 1000 / 7 + position + 1) ** -0.5

    choices = sample_choices(everything, CHUNK + 3, np.random.default_rng(0))
    found = block_table(everything, cost).join(choices)
    for row in (0, 1, CHUNK - 1, CHUNK, CHUNK + 2):
        blocks = everything.architecture(choices[row].tolist()).blocks
        assert found[row] == sum(cost(at, b) for at, b in enumerate(blocks) if b is not None)


@pytest.mark.parametrize("name", ["compact", "macro", "everything"])
def test_vectorised_bn_scores_equal_those_of_single_architectures(
    name: str, everything: SearchSpace
) -> None:
    space = everything if name == "everything" else preset(name)
    supernet = uneven(Supernet(space, torch.Generator().manual_seed(0)))
    table = bn_table(supernet, space)
    choices = sample_choices(space, 40, np.random.default_rng(0))
    for per_layer in (False, True):
        scores = table.scores(choices, per_layer).tolist()
        networks = [space.architecture(row) for row in choices.tolist()]
        assert scores == [bn_indicator(supernet, network, per_layer) for network in networks]


def test_choices_of_another_space_are_refused(everything: SearchSpace) -> None:
    choices = sample_choices(everything, 4, np.random.default_rng(0))
    table = costs.flops.table(everything)
    one_too_large, negative = choices.copy(), choices.copy()
    one_too_large[2, 4], negative[0, 1] = 200, -1
    for wrong in (choices[:, 1:], choices.astype(float), one_too_large, negative):
        with pytest.raises(SpaceError, match=r"must be integers \(N, 11\)"):
            table(wrong)
    assert table(choices[:0]).tolist() == []


def test_extremes_equal_those_of_all_architectures(everything: SearchSpace) -> None:
    every = all_choices(everything)
    found = costs.flops.table(everything)(every)
    assert found.max() == costs.flops(everything.extreme(block_flops, largest=True))
    assert found.min() == costs.flops(everything.extreme(block_flops))
