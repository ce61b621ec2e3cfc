"""What the networks of this package are given to learn from, whoever makes it.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LabelledImages(Protocol):
    """Images and their labels."""

    @property
    def images_NCHW(self) -> Tensor:  # noqa: N802 - a tensor carries its axes
        """Normalised images, float32."""

    @property
    def labels_N(self) -> Tensor:  # noqa: N802
        """Labels, int64."""


class Batch(LabelledImages, Protocol):
    """Training images that know their place in the split."""

    @property
    def indices_N(self) -> Tensor:  # noqa: N802
        """Each image's place in the training split, int64."""
