from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from models.nets.features import subnet_features, supernet_features
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet, extract
from models.space.space import SearchSpace
from models.training.probe import probe_accuracy, probe_subnet


class Example(NamedTuple):
    images_NCHW: Tensor
    labels_N: Tensor


def blobs(count: int, seed: int, spread: float = 0.3) -> list[Example]:
    """Three classes around the corners of a triangle, as images of two channels and one pixel."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(0, 3, (count,), generator=generator)
    corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    points = corners[labels_N] + spread * torch.randn(count, 2, generator=generator)
    return [
        Example(points[i : i + 50, :, None, None], labels_N[i : i + 50])
        for i in range(0, count, 50)
    ]


def flat(images_NCHW: Tensor) -> Tensor:
    return images_NCHW.flatten(1)


def test_separable_features_are_worth_everything_and_noise_is_worth_chance() -> None:
    assert probe_accuracy(flat, blobs(200, 0), blobs(300, 1)) > 0.97
    noise = probe_accuracy(lambda x: torch.randn(len(x), 2), blobs(200, 0), blobs(300, 1))
    assert 0.2 < noise < 0.5


def test_it_needs_images_and_two_classes() -> None:
    one = [Example(torch.randn(5, 2, 1, 1), torch.full((5,), 3))]
    with pytest.raises(ValueError, match="at least two classes; its 5 have only class 3"):
        probe_accuracy(flat, one, one)
    with pytest.raises(ValueError, match="at least one batch"):
        probe_accuracy(flat, [], one)


def test_features_are_what_the_last_layer_reads(small: SearchSpace) -> None:
    supernet = Supernet(small, torch.Generator().manual_seed(0)).eval()
    images = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    for seed in range(5):
        architecture = small.sample(np.random.default_rng(seed))
        subnet = extract(supernet, architecture)
        with torch.no_grad():
            shared = supernet_features(supernet, images, architecture)
            plain = subnet_features(subnet, images)
            linear = subnet.blocks[-1].cells["linear"]
            assert torch.equal(linear(plain.features_NC), plain.logits_NK)
            assert torch.equal(supernet(images, architecture), shared.logits_NK)
        torch.testing.assert_close(shared.features_NC, plain.features_NC, rtol=1e-4, atol=1e-5)


def test_probing_a_network_leaves_it_alone(small: SearchSpace) -> None:
    subnet = Subnet(small.sample(np.random.default_rng(0)), torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in subnet.state_dict().items()}
    batches = [Example(torch.randn(10, 1, 12, 12), torch.arange(10) % 5)]
    assert 0 <= probe_subnet(subnet, batches, batches) <= 1
    assert all(torch.equal(value, before[n]) for n, value in subnet.state_dict().items())
