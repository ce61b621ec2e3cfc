"""The pretrained weights compute what the code that belongs to them computes.

`lite0_logits.npy` has the logits (4, 1000) of `efficientnet-lite-pytorch` 0.1.0 for `photographs`.
With NETWRIGHT_EFFICIENTNET_LITE, a folder with that package, they are computed again.
"""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional

from core.errors import UserError
from models.nets.pretrained import efficientnet_lite0 as lite0
from models.nets.pretrained.match import start_from
from models.nets.supernet import Supernet, extract
from models.space.costs import block_flops
from models.space.file import PRESETS
from models.space.space import SearchSpace

LOGITS = Path(__file__).parent / "lite0_logits.npy"
ORIGINAL = "NETWRIGHT_EFFICIENTNET_LITE"
SIZE = 97  # with an odd size Lite0's padding is the same on both sides at every stride
CROPS = [(0, 0, 427), (0, 213, 427)]
SPACE = SearchSpace.load(PRESETS / "lite.yaml", (3, SIZE, SIZE), 1000)
LARGEST = SPACE.extreme(block_flops, largest=True)


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """(4, 3, SIZE, SIZE), pixels from 0 to 255."""
    crops = [
        torch.from_numpy(np.array(image[top : top + size, left : left + size]))
        for image in load_sample_images().images
        for top, left, size in CROPS
    ]
    found = [
        functional.interpolate(
            crop.permute(2, 0, 1)[None].float(), (SIZE, SIZE), mode="bilinear", antialias=True
        )
        for crop in crops
    ]
    return torch.cat(found).round()


def started(mean: tuple[float, ...] = lite0.MEAN, std: tuple[float, ...] = lite0.STD) -> Supernet:
    supernet = Supernet(SPACE, torch.Generator().manual_seed(0)).eval()
    weights = lite0.EfficientNetLite0().read(Path())
    report = start_from(supernet, SPACE, weights, mean, std)
    assert (report.whole, report.partly, report.random, report.unused) == (
        report.tensors, (), (), (),
    )  # fmt: skip
    return supernet


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    axis = [torch.tensor(values)[:, None, None] for values in (mean, std)]
    return (pixels / 255 - axis[0]) / axis[1]


@torch.no_grad()
def test_the_largest_network_gives_the_originals_logits(photographs: Tensor) -> None:
    supernet, wanted = started(), torch.from_numpy(np.load(LOGITS))
    images = normalised(photographs, lite0.MEAN, lite0.STD)
    assert wanted.abs().max() > 5
    torch.testing.assert_close(supernet(images, LARGEST), wanted, rtol=1e-4, atol=1e-3)
    plain = extract(supernet, LARGEST).eval()
    torch.testing.assert_close(plain(images), wanted, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_images_may_be_normalised_by_another_deviation(photographs: Tensor) -> None:
    deviation = (0.3, 0.25, 0.2)
    images = normalised(photographs, lite0.MEAN, deviation)
    logits = started(lite0.MEAN, deviation)(images, LARGEST)
    wanted = torch.from_numpy(np.load(LOGITS))
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_another_mean_differs_at_the_border_of_the_image_alone(photographs: Tensor) -> None:
    means = [lite0.MEAN, (0.45, 0.5, 0.4)]
    stems = []
    for mean in means:
        supernet = started(mean).eval()
        position = LARGEST.first_layer - 1
        stem = LARGEST.blocks[position]
        assert stem is not None
        images = normalised(photographs, mean, lite0.STD)
        stems.append(supernet.shared_block(position, stem)(images, stem, False))
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(stems[1][inner], stems[0][inner], rtol=1e-4, atol=1e-4)
    assert (stems[1] - stems[0]).abs().max() > 0.01


@torch.no_grad()
def test_a_greyscale_image_is_read_as_three_equal_channels(photographs: Tensor) -> None:
    grey = photographs.mean(1, keepdim=True)
    colour = started()(normalised(grey.expand(-1, 3, -1, -1), lite0.MEAN, lite0.STD), LARGEST)
    space = SearchSpace.load(PRESETS / "lite.yaml", (1, SIZE, SIZE), 1000)
    supernet = Supernet(space, torch.Generator().manual_seed(0)).eval()
    weights = lite0.EfficientNetLite0().read(Path())
    start_from(supernet, space, weights, lite0.MEAN[:1], lite0.STD[:1])
    images = normalised(grey, lite0.MEAN[:1], lite0.STD[:1])
    logits = supernet(images, space.extreme(block_flops, largest=True))
    torch.testing.assert_close(logits, colour, rtol=1e-4, atol=1e-3)


def test_a_missing_package_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite0, "PACKAGE", "efficientnet-lite9-pytorch-model")
    with pytest.raises(UserError, match=r"efficientnet-lite9-pytorch-model.*pretrained"):
        lite0.EfficientNetLite0().read(Path())


@pytest.mark.skipif(ORIGINAL not in os.environ, reason=f"{ORIGINAL}: the package is not given")
@torch.no_grad()
def test_the_stored_logits_are_those_of_the_original_code(
    photographs: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(os.environ[ORIGINAL])
    package = importlib.import_module("efficientnet_lite_pytorch")
    network: nn.Module = package.EfficientNet.from_name("efficientnet-lite0", image_size=SIZE)
    network.load_state_dict(torch.load(lite0.package_file(), weights_only=True))
    logits = network.eval()(normalised(photographs, lite0.MEAN, lite0.STD))
    torch.testing.assert_close(torch.from_numpy(np.load(LOGITS)), logits, rtol=1e-4, atol=1e-3)
