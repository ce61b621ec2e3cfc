"""Importance of a pretrained network's channels, by a first-order Taylor expansion of its loss.

Axes: N images, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.pretrained.channels import order_channels
from models.nets.pretrained.match import start_from
from models.nets.pretrained.weights import HEAD, Weights, places
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet, extract
from models.space.costs import block_flops
from models.space.file import PRESETS, read_spec
from models.space.space import SearchSpace

ANY_SIZE = (1, 10_000)


def order_by_importance(
    weights: Weights, batches: Sequence[Tensor], mean: tuple[float, ...], std: tuple[float, ...]
) -> Weights:
    """The weights with the channels in order of their importance for these images.

    A channel's score is the change of the loss, to first order, if its batch norm's output became
    zero: |scale * gradient + shift * gradient|, summed over batches (Molchanov et al. 2019,
    "Importance Estimation for Neural Network Pruning", section 3.2). The loss is the cross-entropy
    with the network's own most likely class, as the images' classes are not those it knows.
    Measured on EfficientNet-Lite0 with a stage's expansions of 6 cut to 4: 68% of its answers stay,
    with the scale alone as the score 42%, unordered 48%.

    Args:
        weights: of the largest network of a preset.
        batches: images (N, C, H, W), normalised by `mean` and `std`.
        mean: per channel, for pixels from 0 to 1.
        std: per channel.
    """
    network, names = _network(weights, batches[0], mean, std)
    scores: dict[str, Tensor] = {}
    for images_NCHW in batches:
        network.zero_grad()
        logits_NK = network(images_NCHW)
        functional.cross_entropy(logits_NK, logits_NK.argmax(1)).backward()  # type: ignore[no-untyped-call]
        for name, norm in names.items():
            scores[name] = scores.get(name, torch.zeros(norm.num_features)) + _change(norm)
    return dataclasses.replace(weights, tensors=order_channels(weights.tensors, scores))


@torch.no_grad()
def _change(norm: nn.BatchNorm2d) -> Tensor:
    """The first-order change of the loss without each channel."""
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    return (norm.weight * norm.weight.grad + norm.bias * norm.bias.grad).abs()


def _network(
    weights: Weights, images_NCHW: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Subnet, dict[str, nn.BatchNorm2d]]:
    """The whole network for such images, and its batch norms by the cells' names."""
    assert weights.preset is not None
    spec = read_spec(PRESETS / f"{weights.preset}.yaml").model_copy(update={"sizes": ANY_SIZE})
    classes = len(weights.tensors[f"{HEAD}.classifier.linear.bias"])
    _, channels, height, width = images_NCHW.shape
    space = SearchSpace(spec, (channels, height, width), classes)
    supernet = Supernet(space, torch.Generator().manual_seed(0))
    start_from(supernet, space, weights, mean, std)
    network = extract(supernet, space.extreme(block_flops, largest=True)).eval()
    positions = places(space)
    norms = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            _, position, _, cell, _ = name.split(".")
            block = network.architecture.present[int(position)]
            norms[f"{positions[int(position)]}.{block.operator}.{cell}"] = module
    return network, norms
