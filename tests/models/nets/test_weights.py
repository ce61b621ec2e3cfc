from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from models.nets.subnet import Subnet, shrink_and_perturb
from models.nets.supernet import Supernet
from models.nets.weights import load_into, to_bytes
from models.space.space import SearchSpace


def subnet(space: SearchSpace, seed: int) -> Subnet:
    return Subnet(space.sample(np.random.default_rng(0)), torch.Generator().manual_seed(seed))


def test_weights_come_back_as_they_were(tiny: SearchSpace, tmp_path: Path) -> None:
    first, second = subnet(tiny, 1), subnet(tiny, 2)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(to_bytes(first))
    load_into(second, file)
    assert all(torch.equal(v, second.state_dict()[n]) for n, v in first.state_dict().items())


def test_equal_weights_give_equal_bytes(tiny: SearchSpace) -> None:
    """Whatever their memory format."""
    first, second = Supernet(tiny, torch.Generator().manual_seed(0)), Supernet(tiny)
    second.load_state_dict(first.state_dict())
    second.to(memory_format=torch.contiguous_format)
    assert to_bytes(first) == to_bytes(second)


def test_weights_of_another_network_are_refused(tiny: SearchSpace, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(to_bytes(subnet(tiny, 1)))
    with pytest.raises(UserError, match="weights of another network"):
        load_into(Supernet(tiny), file)


def test_missing_and_broken_weights_are_named(tiny: SearchSpace, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    with pytest.raises(UserError, match="no such weights"):
        load_into(subnet(tiny, 1), file)
    file.write_bytes(to_bytes(subnet(tiny, 1))[:-100])
    with pytest.raises(UserError, match="not a valid safetensors file"):
        load_into(subnet(tiny, 1), file)


@pytest.mark.parametrize(("pretrained", "share"), [(False, 0.2), (True, 1.0)])
def test_without_a_share_it_follows_the_supernets_start(
    tiny: SearchSpace, pretrained: bool, share: float
) -> None:
    networks = [subnet(tiny, 1), subnet(tiny, 1)]
    networks[0].pretrained = pretrained
    for network, given in zip(networks, (None, share), strict=True):
        shrink_and_perturb(network, given, torch.Generator().manual_seed(2))
    for found, expected in zip(*(n.parameters() for n in networks), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_start_lies_between_the_slice_and_fresh_weights(tiny: SearchSpace, share: float) -> None:
    network, fresh = subnet(tiny, 1), subnet(tiny, 2)
    before = [parameter.clone() for parameter in network.parameters()]
    shrink_and_perturb(network, share, torch.Generator().manual_seed(2))
    for old, new, found in zip(before, fresh.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(found, share * old + (1 - share) * new)
