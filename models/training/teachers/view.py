"""Preprocessing of this data set's images for an external teacher.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.errors import UserError

_LUMA = (0.299, 0.587, 0.114)
"""RGB weights of luma (ITU-R BT.601)."""


@dataclass(frozen=True)
class View:
    """Converts images normalised for this data set to a teacher's input.

    Attributes:
        data_mean: of this data set, per channel, for pixels from 0 to 1.
        data_std: likewise.
        channels: of the teacher: as many as the images, 3 for greyscale images (repeated), or 1
            for colour images (luma).
        pixels: height and width of the teacher's input; None keeps the size.
        mean: the teacher's normalisation per channel; None uses this data set's.
        std: likewise.
    """

    data_mean: tuple[float, ...]
    data_std: tuple[float, ...]
    channels: int
    pixels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        have = len(self.data_mean)
        if self.channels not in {1, 3, have}:
            raise UserError(
                f"the teacher expects {self.channels} channels and the images have {have}: only "
                "1 and 3 can be converted into each other."
            )
        if self.channels < have and self.mean is None:
            raise UserError(
                "a greyscale teacher with colour images needs its own normalisation: set "
                "teacher.input.mean and std."
            )
        if self.mean is not None and len(self.mean) != self.channels:
            raise UserError(
                f"teacher.input.mean and std need {self.channels} numbers, one per channel of "
                f"the teacher, not {len(self.mean)}."
            )

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Normalised images of the data set (N, C, H, W) to the teacher's input."""
        x_NCHW = images_NCHW
        if self.channels != len(self.data_mean) or self.mean is not None:
            x_NCHW = _channels(x_NCHW * _axis(self.data_std) + _axis(self.data_mean), self.channels)
            mean, std = self._normalisation()
            x_NCHW = (x_NCHW - _axis(mean)) / _axis(std)
        if self.pixels is not None and x_NCHW.shape[2:] != (self.pixels, self.pixels):
            x_NCHW = functional.interpolate(
                x_NCHW, (self.pixels, self.pixels), mode="bilinear", antialias=True
            )
        return x_NCHW

    def _normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """The teacher's mean and std per channel."""
        if self.mean is not None and self.std is not None:
            return self.mean, self.std
        return self.data_mean * self.channels, self.data_std * self.channels


def _axis(values: Sequence[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _channels(pixels_NCHW: Tensor, count: int) -> Tensor:
    if pixels_NCHW.shape[1] == count:
        return pixels_NCHW
    if count == 1:
        return (pixels_NCHW * _axis(_LUMA)).sum(1, keepdim=True)
    return pixels_NCHW.expand(-1, count, -1, -1)
