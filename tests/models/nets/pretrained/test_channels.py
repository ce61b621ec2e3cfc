"""Ordering channels by importance changes no output."""

import pytest
import torch

from models.nets.pretrained import efficientnet_lite0 as lite0
from models.nets.pretrained.channels import order_channels
from models.nets.pretrained.file import read_state
from models.nets.pretrained.match import start_from
from models.nets.pretrained.weights import Weights
from models.nets.supernet import Supernet
from models.space.costs import block_flops
from models.space.file import PRESETS
from models.space.space import SearchSpace

SPACE = SearchSpace.load(PRESETS / "lite.yaml", (3, 64, 64), 1000)


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    return lite0.by_place(read_state(lite0.package_file()))


@torch.no_grad()
def test_the_network_is_the_same_and_its_channels_are_in_order(original) -> None:
    ordered = order_channels(original)
    assert ordered.keys() == original.keys()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    outputs = []
    for tensors in (original, ordered):
        supernet = Supernet(SPACE, torch.Generator().manual_seed(0)).eval()
        weights = Weights("test", tensors, lite0.MEAN, lite0.STD)
        start_from(supernet, SPACE, weights, lite0.MEAN, lite0.STD)
        outputs.append(supernet(images, SPACE.extreme(block_flops, largest=True)))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-3)
    scales = ordered["stage4.layer2.mbconv.depthwise.norm.weight"].abs()
    assert torch.equal(scales, scales.sort(descending=True).values)
    stage = [ordered[f"stage6.layer{n}.mbconv.project.norm.weight"].abs() for n in (1, 2, 3, 4)]
    total = torch.stack(stage).sum(0)
    torch.testing.assert_close(total, total.sort(descending=True).values)


def test_the_input_is_not_changed(original) -> None:
    before = {name: tensor.clone() for name, tensor in original.items()}
    order_channels(original)
    assert all(torch.equal(before[name], original[name]) for name in before)
