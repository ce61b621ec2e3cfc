"""Input of an external teacher: its settings, its record, and the preprocessing to it.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from core.artifact import Record
from core.errors import UserError
from core.settings import Params
from models.training.teachers.base import Teacher

_LUMA = (0.299, 0.587, 0.114)
"""RGB weights of luma (ITU-R BT.601)."""


class InputParams(Params):
    """Input of an external teacher."""

    pixels: int | None = Field(None, ge=1)
    """Height and width; null: from its ONNX file, else the data set's image size."""
    mean: tuple[float, ...] | None = Field(None, strict=False)
    """Normalisation mean per channel; null (together with std): the data set's own."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(None, strict=False)
    """Normalisation standard deviation per channel."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        pair = [values for values in (self.mean, self.std) if values is not None]
        if len(pair) == 1 or len({len(values) for values in pair}) > 1:
            raise ValueError("mean and std: give both, with as many numbers, or neither")
        return self


class TeacherInput(Record):
    """What an external teacher sees of an image; None: as the data set's images are."""

    channels: int | None
    """As many as the images, 3 for greyscale images (repeated), or 1 for colour images (luma)."""
    pixels: int | None = None
    """Height and width."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class View:
    """Converts images normalised for a data set to a teacher's input.

    Args:
        mean: of the data set, per channel, for pixels from 0 to 1.
        std: likewise.
        wanted: the teacher's input.

    Raises:
        UserError: the images cannot be converted.
    """

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], wanted: TeacherInput
    ) -> None:
        have, channels = len(mean), wanted.channels or len(mean)
        if channels not in {1, 3, have}:
            raise UserError(
                f"the teacher expects {channels} channels and the images have {have}: only "
                "1 and 3 can be converted into each other."
            )
        if channels < have and wanted.mean is None:
            raise UserError(
                "a greyscale teacher with colour images needs its own normalisation: set "
                "teacher.source.input.mean and std."
            )
        if wanted.mean is not None and len(wanted.mean) != channels:
            raise UserError(
                f"teacher.source.input.mean and std need {channels} numbers, one per channel of "
                f"the teacher, not {len(wanted.mean)}."
            )
        self.data, self.channels, self.pixels = (mean, std), channels, wanted.pixels
        self.converts = channels != have or wanted.mean is not None
        self.normalisation = mean * channels, std * channels
        if wanted.mean is not None and wanted.std is not None:
            self.normalisation = wanted.mean, wanted.std

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Normalised images of the data set (N, C, H, W) to the teacher's input."""
        x_NCHW = images_NCHW
        if self.converts:
            (data_mean, data_std), (mean, std) = self.data, self.normalisation
            x_NCHW = _channels(x_NCHW * _axis(data_std) + _axis(data_mean), self.channels)
            x_NCHW = (x_NCHW - _axis(mean)) / _axis(std)
        if self.pixels is not None and x_NCHW.shape[2:] != (self.pixels, self.pixels):
            x_NCHW = functional.interpolate(
                x_NCHW, (self.pixels, self.pixels), mode="bilinear", antialias=True
            )
        return x_NCHW

    def before(self, teacher: Teacher) -> Teacher:
        """A teacher of images normalised for the data set."""
        return lambda images_NCHW: teacher(self(images_NCHW))


def _axis(values: Sequence[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _channels(pixels_NCHW: Tensor, count: int) -> Tensor:
    if pixels_NCHW.shape[1] == count:
        return pixels_NCHW
    if count == 1:
        return (pixels_NCHW * _axis(_LUMA)).sum(1, keepdim=True)
    return pixels_NCHW.expand(-1, count, -1, -1)
