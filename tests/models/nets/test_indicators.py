from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from models.nets.indicators import block_gamma, bn_indicator
from models.nets.shared_cells import SlicedNorm
from models.nets.subnet import ConvNorm
from models.nets.supernet import Supernet, extract
from models.space.costs import block_flops, depth
from models.space.space import SearchSpace

SPACE = SearchSpace.load(Path("models/spaces/compact.yaml"), (1, 28, 28), 10)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    net = Supernet(SPACE, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, SlicedNorm):
            torch.nn.init.normal_(module.weight, generator=generator)
    return net


@pytest.mark.parametrize("seed", range(5))
def test_the_indicator_is_that_of_the_extracted_networks_last_norms(
    supernet: Supernet, seed: int
) -> None:
    architecture = SPACE.sample(np.random.default_rng(seed))
    layers = list(extract(supernet, architecture).blocks)[1:-1]
    gammas = []
    for layer in layers:
        last = [m for m in layer.cells.values() if isinstance(m, ConvNorm)][-1]  # type: ignore[union-attr, operator]
        gammas.append(float(last.norm.weight.detach().abs().mean()))
    assert bn_indicator(supernet, architecture) == pytest.approx(sum(gammas), rel=1e-6)
    per_layer = bn_indicator(supernet, architecture, per_layer=True)
    assert per_layer == pytest.approx(sum(gammas) / depth(architecture), rel=1e-6)


def test_the_plain_sum_rewards_depth_and_the_mean_does_not() -> None:
    fresh = Supernet(SPACE, torch.Generator().manual_seed(0))  # every gamma is 1
    deep = SPACE.extreme(block_flops, largest=True)
    shallow = SPACE.extreme(block_flops)
    assert bn_indicator(fresh, deep) == depth(deep)
    assert bn_indicator(fresh, shallow) == depth(shallow)
    assert bn_indicator(fresh, deep, per_layer=True) == 1
    assert bn_indicator(fresh, shallow, per_layer=True) == 1


def test_the_indicator_leaves_the_supernet_alone(supernet: Supernet) -> None:
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    bn_indicator(supernet, SPACE.sample(np.random.default_rng(0)))
    assert all(torch.equal(value, before[n]) for n, value in supernet.state_dict().items())


def test_a_block_the_supernet_does_not_hold_is_refused(supernet: Supernet) -> None:
    architecture = SPACE.sample(np.random.default_rng(0))
    stem, head = architecture.present[0], architecture.present[-1]
    with pytest.raises(UserError, match="not in the supernet"):
        block_gamma(supernet, 0, head)
    assert isinstance(block_gamma(supernet, 0, stem), float)
