"""Ordering channels by importance changes no output, and lets narrower networks keep more of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional

from models.nets.pretrained import efficientnet_lite0 as lite0
from models.nets.pretrained.channels import order_channels
from models.nets.pretrained.importance import order_by_importance
from models.nets.pretrained.match import start_from
from models.nets.pretrained.weights import Weights
from models.nets.supernet import Supernet
from models.space.architecture import Architecture
from models.space.costs import block_flops
from models.space.file import PRESETS
from models.space.space import SearchSpace

SPACE = SearchSpace.load(PRESETS / "lite.yaml", (3, 64, 64), 1000)
LARGEST = SPACE.extreme(block_flops, largest=True)


@pytest.fixture(scope="module")
def original() -> Weights:
    return lite0.EfficientNetLite0().read(Path())


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """(32, 3, 64, 64), normalised."""
    rng, found = np.random.default_rng(0), []
    for image in load_sample_images().images:
        for _ in range(16):
            top, left = rng.integers(0, 227), rng.integers(0, 440)
            crop = torch.from_numpy(np.array(image[top : top + 200, left : left + 200]))
            found.append(crop.permute(2, 0, 1).float())
    pixels = functional.interpolate(torch.stack(found), (64, 64), mode="bilinear", antialias=True)
    return (pixels - 127) / 128


def supernet_of(weights: Weights) -> Supernet:
    supernet = Supernet(SPACE, torch.Generator().manual_seed(0)).eval()
    start_from(supernet, SPACE, weights, lite0.MEAN, lite0.STD)
    return supernet


@pytest.fixture(scope="module")
def ordered(original: Weights, photographs: Tensor) -> Weights:
    return order_by_importance(original, [photographs[::2]], lite0.MEAN, lite0.STD)


def narrower(stage: int) -> Architecture:
    """The largest network with expansions of 4 in one stage."""
    choices = list(SPACE.choices(LARGEST))
    for place, group in enumerate(SPACE.groups):
        if group.name.startswith(f"stage{stage}.layer"):
            labels = [group.label(number) for number in range(len(group.candidates))]
            choices[place] = max(n for n, text in enumerate(labels) if "expansion=4" in text)
    return SPACE.architecture(choices)


@torch.no_grad()
def test_the_network_stays_the_same(
    original: Weights, ordered: Weights, photographs: Tensor
) -> None:
    assert ordered.tensors.keys() == original.tensors.keys()
    name = "stage4.layer2.mbconv.depthwise.weight"
    assert not torch.equal(ordered.tensors[name], original.tensors[name])
    before, after = (supernet_of(w)(photographs, LARGEST) for w in (original, ordered))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_a_narrower_network_keeps_more_in_order(
    original: Weights, ordered: Weights, photographs: Tensor
) -> None:
    held_out = photographs[1::2]
    whole_NK = supernet_of(original)(held_out, LARGEST).softmax(1)
    lost = []
    for weights in (original, ordered):
        supernet = supernet_of(weights)
        found = [supernet(held_out, narrower(stage)).log_softmax(1) for stage in (4, 5, 6)]
        losses = [functional.kl_div(log_NK, whole_NK, reduction="batchmean") for log_NK in found]
        lost.append(float(sum(losses)))
    assert lost[1] < 0.7 * lost[0]


def test_equal_images_give_equal_orders(original: Weights, ordered: Weights, photographs: Tensor):
    again = order_by_importance(original, [photographs[::2]], lite0.MEAN, lite0.STD)
    assert all(torch.equal(again.tensors[n], t) for n, t in ordered.tensors.items())


def test_channels_stand_in_the_order_of_the_scores(original: Weights) -> None:
    tensors = original.tensors
    scores = {
        name.removesuffix(".norm.weight"): tensor.abs()
        for name, tensor in tensors.items()
        if name.endswith(".norm.weight")
    }
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    found = order_channels(tensors, scores)
    scales = found["stage4.layer2.mbconv.depthwise.norm.weight"].abs()
    assert torch.equal(scales, scales.sort(descending=True).values)
    # The blocks of a stage share one order, because they are added.
    layers = [found[f"stage6.layer{n}.mbconv.project.norm.weight"].abs() for n in (1, 2, 3, 4)]
    total = torch.stack(layers).sum(0)
    torch.testing.assert_close(total, total.sort(descending=True).values)
    assert all(torch.equal(before[name], tensors[name]) for name in before)
