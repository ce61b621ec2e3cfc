"""Batches of a prepared data set, as tensors.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.dataset import Augment, DatasetInfo, Split
from data.errors import DataError

# Tags that keep the generators of one seed apart.
_ORDER, _AUGMENT = 0, 1


class Batch(NamedTuple):
    """Some images of a split.

    Attributes:
        images_NCHW: float32, normalised, in channels_last memory.
        labels_N: int64.
        indices_N: int64, where the images stand in the split.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    indices_N: Tensor


def normalise(images_NHWC: npt.NDArray[np.uint8], info: DatasetInfo) -> Tensor:
    """Bring pixels to what networks read: (pixel / 255 - mean) / std, per channel.

    Args:
        images_NHWC: uint8.
        info: the data set that mean and std are taken from.

    Returns:
        float32 (N, C, H, W) in channels_last memory; it shares nothing with the input.
    """
    images = torch.tensor(np.ascontiguousarray(images_NHWC), dtype=torch.float32)
    images.div_(255.0).sub_(torch.tensor(info.mean)).div_(torch.tensor(info.std))
    return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


class TrainStream:
    """Shuffled training batches, each a pure function of the seed and the step's number.

    So a run that continues at step k sees what it would have seen without the break. Every epoch
    has its own order; the images left over after its last whole batch wait for another epoch.

    Args:
        split: the images.
        info: the data set they belong to.
        batch: images per step; a smaller split gives all its images at every step.
        seed: where order and augmentation are drawn from.
        augment: vary the images as `info.augment` says.
    """

    def __init__(
        self, split: Split, info: DatasetInfo, batch: int, seed: int, augment: bool
    ) -> None:
        if len(split) == 0 or batch < 1:
            raise DataError(f"cannot draw batches of {batch} from {len(split)} images.")
        self.split, self.info, self.seed = split, info, seed
        self.augment = info.augment if augment else None
        self.batch = min(batch, len(split))
        self.steps_per_epoch = len(split) // self.batch
        self._labels_N = np.array(split.labels_N)
        self._order = (-1, np.empty(0, np.int64))  # the last epoch's, which the next step needs

    def at(self, step: int) -> Batch:
        """The batch of one step, counted from 0 over all epochs."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch
        indices_N = self._order_of(epoch)[start : start + self.batch]
        images_NHWC = self.split.images_NHWC[indices_N]
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, _AUGMENT, step])
            images_NHWC = vary(images_NHWC, self.augment, rng)
        return Batch(
            normalise(images_NHWC, self.info),
            torch.from_numpy(self._labels_N[indices_N]),
            torch.from_numpy(indices_N.copy()),
        )

    def _order_of(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, _ORDER, epoch])
            self._order = (epoch, rng.permutation(len(self.split)))
        return self._order[1]


def vary(
    images_NHWC: npt.NDArray[np.uint8], augment: Augment, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Shift and mirror every image at random.

    Args:
        images_NHWC: uint8; left as it is.
        augment: what may be done.
        rng: where it is drawn from.

    Returns:
        uint8, of the same shape; pixels that come in from outside are 0.
    """
    count, height, width, channels = images_NHWC.shape
    reach = augment.shift
    offsets_N2 = rng.integers(0, 2 * reach + 1, (count, 2))
    flipped_N = rng.random(count) < 0.5
    padded = np.zeros((count, height + 2 * reach, width + 2 * reach, channels), np.uint8)
    padded[:, reach : reach + height, reach : reach + width] = images_NHWC
    varied_NHWC = np.empty_like(images_NHWC)
    # Copying windows one by one is quicker here than any gather over all pixels.
    for index, (down, right) in enumerate(offsets_N2.tolist()):
        varied_NHWC[index] = padded[index, down : down + height, right : right + width]
    if augment.flip:
        varied_NHWC[flipped_N] = varied_NHWC[flipped_N, :, ::-1]
    return varied_NHWC


def eval_batches(split: Split, info: DatasetInfo, batch: int) -> Iterator[Batch]:
    """Every image of a split, once, in order; the last batch may be smaller."""
    for start in range(0, len(split), batch):
        stop = min(start + batch, len(split))
        yield Batch(
            normalise(split.images_NHWC[start:stop], info),
            torch.tensor(np.array(split.labels_N[start:stop])),
            torch.arange(start, stop),
        )
