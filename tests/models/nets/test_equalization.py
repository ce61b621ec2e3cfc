"""Equalisation equalises channel ranges and keeps the network's outputs."""

import torch
from torch import Tensor, nn

from models.nets.equalization import equalise


def network(activation: nn.Module) -> nn.Sequential:
    """Dense, depthwise and fully connected layers with very uneven channels."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 6, 3),
        activation,
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    with torch.no_grad():
        layers[0].weight.mul_(torch.logspace(-2, 2, 6).reshape(-1, 1, 1, 1))
    return layers.eval()


def images() -> Tensor:
    return torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def ranges(module: nn.Module, axis: int) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach().abs().amax([other for other in range(weight.dim()) if other != axis])


@torch.no_grad()
def test_a_channel_has_the_same_range_on_both_sides_and_nothing_else_changes() -> None:
    layers = network(nn.ReLU())
    before = layers(images())
    equalise(layers)
    torch.testing.assert_close(layers(images()), before, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ranges(layers[0], 0), ranges(layers[2], 0), rtol=0.01, atol=0)
    torch.testing.assert_close(ranges(layers[2], 0), ranges(layers[4], 1), rtol=0.01, atol=0)


@torch.no_grad()
def test_only_what_scales_with_its_input_may_stand_between_two_layers() -> None:
    for activation in (nn.Hardswish(), nn.ReLU6(), nn.Sigmoid()):
        layers = network(activation)
        first = layers[0].weight.clone()
        last = layers[6].weight.clone()
        equalise(layers)
        assert torch.equal(layers[0].weight, first)
        assert torch.equal(layers[6].weight, last)  # after flattening, columns are not channels
        torch.testing.assert_close(ranges(layers[2], 0), ranges(layers[4], 1), rtol=0.01, atol=0)


@torch.no_grad()
def test_a_dead_channel_stays_as_it_is() -> None:
    layers = network(nn.ReLU())
    layers[0].weight[0] = 0
    layers[0].bias[0] = 2.0
    before = layers(images())
    equalise(layers)
    assert layers[0].bias[0] == 2.0
    assert all(torch.isfinite(parameter).all() for parameter in layers.parameters())
    torch.testing.assert_close(layers(images()), before, rtol=1e-4, atol=1e-3)
