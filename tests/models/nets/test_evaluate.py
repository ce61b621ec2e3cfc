from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.nets.evaluate import accuracy, fold_batch_norms, logits, recalibrate
from models.nets.subnet import Subnet
from models.space.space import SearchSpace


class Labelled(NamedTuple):
    images_NCHW: Tensor
    labels_N: Tensor


@pytest.fixture
def subnet(tiny: SearchSpace) -> Subnet:
    return Subnet(tiny.sample(np.random.default_rng(0)), torch.Generator().manual_seed(0))


def images(seed: int, count: int = 8) -> Tensor:
    return 3 + 2 * torch.randn(count, 1, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_recalibration_averages_the_batches_statistics(subnet: Subnet) -> None:
    batches = [images(1), images(2), images(3)]
    outputs: list[Tensor] = []
    stem = subnet.blocks[0].cells["conv"]
    stem.conv.register_forward_hook(lambda module, args, out: outputs.append(out))
    recalibrate(subnet, batches)
    means = torch.stack([out.mean((0, 2, 3)) for out in outputs]).mean(0)
    variances = torch.stack([out.var((0, 2, 3)) for out in outputs]).mean(0)
    torch.testing.assert_close(stem.norm.running_mean, means)
    torch.testing.assert_close(stem.norm.running_var, variances)


def test_recalibration_forgets_what_was_before_and_changes_no_weight(subnet: Subnet) -> None:
    weights = {name: value.clone() for name, value in subnet.named_parameters()}
    recalibrate(subnet, [images(1)])
    once = {name: value.clone() for name, value in subnet.state_dict().items()}
    recalibrate(subnet, [images(2)])
    recalibrate(subnet, [images(1)])
    assert all(torch.equal(value, once[name]) for name, value in subnet.state_dict().items())
    assert all(torch.equal(value, weights[name]) for name, value in subnet.named_parameters())
    assert subnet.blocks[0].cells["conv"].norm.momentum == 0.1


@pytest.mark.parametrize("training", [True, False])
def test_recalibration_keeps_the_mode(subnet: Subnet, training: bool) -> None:
    subnet.train(training)
    recalibrate(subnet, [images(1)])
    assert subnet.training is training


def test_recalibration_without_images_is_refused(subnet: Subnet) -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate(subnet, [])


def test_accuracy_counts_images_not_batches() -> None:
    model = nn.Flatten()  # the logits are the pixels
    first = Labelled(torch.eye(2).view(2, 1, 1, 2), torch.tensor([0, 1]))
    second = Labelled(torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.tensor([1]))
    assert accuracy(model, [first, second]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at least one image"):
        accuracy(model, [])


def test_logits_keep_the_order_of_the_images() -> None:
    batches = [Labelled(torch.full((2, 1, 1, 3), float(i)), torch.zeros(2)) for i in range(3)]
    found = logits(nn.Flatten(), batches)
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_folding_computes_the_same_and_leaves_the_network_alone(subnet: Subnet) -> None:
    recalibrate(subnet, [images(1)])
    before = {name: value.clone() for name, value in subnet.state_dict().items()}
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norms(subnet)(images(2)), subnet.eval()(images(2)))
    assert all(torch.equal(value, before[name]) for name, value in subnet.state_dict().items())
