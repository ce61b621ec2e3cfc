"""What a network sees in an image: the input of its last fully connected layer.

Axes: N images, C features, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from models.architecture import Architecture
from models.subnet import PlainBlock, Subnet
from models.supernet import Supernet

LINEAR = "linear"
"""The cell of a classifier that turns features into logits."""


class Seen(NamedTuple):
    """Both ends of the last layer, of one forward pass."""

    features_NC: Tensor
    logits_NK: Tensor


def supernet_features(
    supernet: Supernet,
    images_NCHW: Tensor,
    architecture: Architecture,
    update_statistics: bool = True,
) -> Seen:
    """Features and logits of one architecture of a supernet; see `Supernet.forward`.

    Raises:
        ArchitectureError: the architecture is not of this supernet's space.
    """
    position = len(architecture.blocks) - 1
    head = supernet.shared_block(position, architecture.present[-1])
    return _watched(
        head.cells[LINEAR], lambda: supernet(images_NCHW, architecture, update_statistics)
    )


def subnet_features(subnet: Subnet, images_NCHW: Tensor) -> Seen:
    """Features and logits of a plain network."""
    head = subnet.blocks[-1]
    assert isinstance(head, PlainBlock)
    return _watched(head.cells[LINEAR], lambda: subnet(images_NCHW))


def _watched(linear: nn.Module, forward: Callable[[], Tensor]) -> Seen:
    """Run `forward`, noting what `linear` is given."""
    given: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        given.append(inputs[0])

    handle = linear.register_forward_pre_hook(note)
    try:
        logits_NK = forward()
    finally:
        handle.remove()
    assert len(given) == 1
    return Seen(given[0], logits_NK)


__all__ = ["Seen", "subnet_features", "supernet_features"]
