"""Features of a network: the input of its last fully connected layer.

Axes: N images, C features, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from models.nets.subnet import PlainBlock, Subnet
from models.nets.supernet import Supernet
from models.space.architecture import Architecture

LINEAR = "linear"
"""Name of the classifier's last cell, features to logits."""


class ForwardResult(NamedTuple):
    """Features and logits of one forward pass."""

    features_NC: Tensor
    logits_NK: Tensor


def supernet_features(
    supernet: Supernet,
    images_NCHW: Tensor,
    architecture: Architecture,
    update_statistics: bool = True,
) -> ForwardResult:
    """Features and logits of one architecture of a supernet; see `Supernet.forward`."""
    head = supernet.shared_block(len(architecture.blocks) - 1, architecture.present[-1])
    return _capture(
        head.cells[LINEAR], lambda: supernet(images_NCHW, architecture, update_statistics)
    )


def subnet_features(subnet: Subnet, images_NCHW: Tensor) -> ForwardResult:
    """Features and logits of a plain network."""
    head = subnet.blocks[-1]
    assert isinstance(head, PlainBlock)
    return _capture(head.cells[LINEAR], lambda: subnet(images_NCHW))


def _capture(linear: nn.Module, forward: Callable[[], Tensor]) -> ForwardResult:
    captured: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        captured.append(inputs[0])

    handle = linear.register_forward_pre_hook(hook)
    try:
        logits_NK = forward()
    finally:
        handle.remove()
    (features_NC,) = captured
    return ForwardResult(features_NC, logits_NK)
