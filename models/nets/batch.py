"""Interfaces of training and evaluation batches.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

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
    """Training images with their indices in the split."""

    @property
    def indices_N(self) -> Tensor:  # noqa: N802
        """Index of each image in the training split, int64."""

    @property
    def second_NCHW(self) -> Tensor | None:  # noqa: N802
        """A second, independently augmented view of the images; None unless requested."""


class Part(NamedTuple):
    """A consecutive part of a batch."""

    images_NCHW: Tensor
    labels_N: Tensor
    indices_N: Tensor
    second_NCHW: Tensor | None


def parts(batch: Batch, count: int) -> list[Part]:
    """Split a batch into `count` equal, consecutive parts.

    Raises:
        ValueError: the number of images is not a multiple of `count`.
    """
    images = len(batch.labels_N)
    if images % count:
        raise ValueError(f"a batch of {images} images cannot be split into {count} equal parts.")
    seconds = [None] * count if batch.second_NCHW is None else batch.second_NCHW.chunk(count)
    columns = (batch.images_NCHW.chunk(count), batch.labels_N.chunk(count))
    rows = zip(*columns, batch.indices_N.chunk(count), seconds, strict=True)
    return [Part(*row) for row in rows]
