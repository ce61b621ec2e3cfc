"""Torchvision's networks for small images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models import get_model

TORCHVISION = ("mobilenet_v2", "mobilenet_v3_small")


def torchvision_network(
    name: str, channels: int, classes: int, seed: int, stem_stride: int = 1, **options: Any
) -> nn.Module:
    """A network of torchvision with fresh weights and another stem.

    Made for 224 pixels, it would reduce 28 to one pixel long before its end: hence a stem of
    stride 1, with as many channels as the images have. `options` are the builder's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = get_model(name, weights=None, num_classes=classes, **options)
        first = network.get_submodule("features.0.0")
        assert isinstance(first, nn.Conv2d)
        stem = nn.Conv2d(channels, first.out_channels, 3, stem_stride, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out")
        network.set_submodule("features.0.0", stem)
    return network
