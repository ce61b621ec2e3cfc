"""Fake quantisation to 8 bits."""

import pytest
import torch
from torch import Tensor, nn

from models.nets.evaluate import fold_batch_norms
from models.nets.fake_quantization import (
    FakeQuantize,
    RoundedWeight,
    fake_quantize,
    remove_rounding,
)
from models.nets.onnx_export import to_onnx


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ).eval()


def images(count: int = 8) -> Tensor:
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("symmetric", "steps"), [(False, 256), (True, 255)])
def test_values_are_rounded_to_the_steps_of_their_range(symmetric: bool, steps: int) -> None:
    x = torch.linspace(-1, 3, 10_001)
    rounded = FakeQuantize(symmetric).train()(x)
    low = -3 if symmetric else -1
    assert len(rounded.unique()) == (round(steps * 2 / 3) if symmetric else steps)
    assert (rounded - x).abs().max() <= 0.51 * (3 - low) / (steps - 1)
    assert 0 in rounded


def test_a_range_follows_training_batches_slowly_and_stands_still_in_evaluation() -> None:
    rounding = FakeQuantize(symmetric=False).train()
    rounding(torch.tensor([0.5, 1.0]))
    assert (rounding.low, rounding.high) == (0.0, 1.0)  # always includes 0
    rounding(torch.tensor([-1.0, 2.0]))
    assert float(rounding.high) == pytest.approx(1.01)
    assert float(rounding.low) == pytest.approx(-0.01)
    rounding.eval()(torch.tensor([-9.0, 9.0]))
    assert float(rounding.high) == pytest.approx(1.01)


def test_a_known_range_never_moves() -> None:
    rounding = FakeQuantize(symmetric=False, span=(0.0, 1.0)).train()
    rounding(torch.tensor([0.25, 0.5]))
    assert (rounding.low, rounding.high) == (0.0, 1.0)


@pytest.mark.parametrize("largest", [127, 63])
def test_every_output_channel_of_a_weight_has_its_own_scale(largest: int) -> None:
    weight = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    weight *= torch.tensor([[1.0], [100.0], [0.0]])
    rounded = RoundedWeight(largest)(weight)
    for before, after in zip(weight, rounded, strict=True):
        assert (before - after).abs().max() <= 0.501 * before.abs().max() / largest
    assert not rounded[2].any()


def test_gradients_pass_rounding_as_if_it_were_not_there() -> None:
    x = torch.linspace(-1, 1, 100).requires_grad_()
    FakeQuantize(symmetric=False).train()(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(100))


def test_training_the_rounded_network_trains_the_plain_one() -> None:
    plain = fold_batch_norms(network())
    before = [parameter.detach().clone() for parameter in plain.parameters()]
    rounded = fake_quantize(plain, "affine").train()
    out = rounded(images())
    out.square().sum().backward()
    with torch.no_grad():
        for parameter in rounded.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
    remove_rounding(plain)
    moved = list(plain.parameters())
    assert len(moved) == len(before) == 4
    assert not any(torch.equal(a, b) for a, b in zip(before, moved, strict=True))
    assert b"QuantizeLinear" not in to_onnx(plain, (2, 4, 4))


def test_where_weights_alone_are_integers_activations_stay_in_float() -> None:
    rounded = fake_quantize(fold_batch_norms(network()), "weights")
    assert not any(isinstance(module, FakeQuantize) for module in rounded.modules())
    assert not torch.equal(rounded(images()), network()(images()))


def test_an_activation_and_what_stands_before_it_are_rounded_once() -> None:
    rounded = fake_quantize(fold_batch_norms(network()), "affine")
    names = [str(node.target) for node in rounded.graph.nodes]
    assert names == [
        "input",
        "rounding_0",
        "0",
        "2",
        "rounding_1",
        "3",
        "4",
        "rounding_2",
        "output",
    ]
