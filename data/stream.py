"""Batches of a prepared dataset, as tensors.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from core.errors import UserError
from data.augment import augment_images
from data.balance import balanced_order, image_weights
from data.dataset import Augment, DatasetInfo, Split

# Tags that separate the random generators of one seed.
_ORDER, _AUGMENT, _POLICY = 0, 1, 2


class Batch(NamedTuple):
    """A batch of a split: float32 normalised images in channels_last memory, int64 labels."""

    images_NCHW: Tensor
    labels_N: Tensor
    indices_N: Tensor
    """int64, indices into the split."""
    second_NCHW: Tensor | None = None
    """A second augmented view of the images; None unless requested."""
    weights_N: Tensor | None = None
    """float32 weights of the images in the loss on labels; None: all 1."""

    def to(
        self,
        device: torch.device,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> Batch:
        """Images and labels on a device; the indices stay, because they index arrays in memory."""
        second_NCHW = self.second_NCHW
        if second_NCHW is not None:
            second_NCHW = second_NCHW.to(device, memory_format=memory_format)
        images_NCHW = self.images_NCHW.to(device, memory_format=memory_format)
        weights_N = None if self.weights_N is None else self.weights_N.to(device)
        labels_N = self.labels_N.to(device)
        return Batch(images_NCHW, labels_N, self.indices_N, second_NCHW, weights_N)


def normalise(images_NHWC: npt.NDArray[np.uint8], info: DatasetInfo) -> Tensor:
    """(pixel / 255 - mean) / std, per channel: float32 (N, C, H, W) in channels_last memory."""
    images = torch.tensor(np.ascontiguousarray(images_NHWC), dtype=torch.float32)
    images.div_(255.0).sub_(torch.tensor(info.mean)).div_(torch.tensor(info.std))
    return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def resize(images_NCHW: Tensor, pixels: int) -> Tensor:
    """Images (N, C, pixels, pixels), bilinear with antialiasing, in the same memory format."""
    if images_NCHW.shape[-1] == pixels:
        return images_NCHW
    return interpolate(images_NCHW, (pixels, pixels), mode="bilinear", antialias=True)


class TrainStream:
    """Shuffled training batches, each a pure function of the seed and the step.

    A resumed run therefore sees the same batches as an uninterrupted one. Every epoch has its own
    order; its last incomplete batch is dropped. With `augment` they also make up for classes of
    unequal size, as `info.balance` says.

    A batch has at most the size of the split. With `share` (rank, world size) only the shard of
    this rank is returned, augmented as in the whole batch.

    Attributes:
        pixels: height and width of a step's images; None: as the split has them.
    """

    def __init__(
        self,
        split: Split,
        info: DatasetInfo,
        batch: int,
        seed: int,
        augment: bool,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if len(split) == 0 or batch < 1:
            raise UserError(f"cannot draw batches of {batch} from {len(split)} images.")
        self.split, self.info, self.seed = split, info, seed
        self.augment = info.augment if augment else None
        balance = info.balance if augment else None
        self.batch = min(batch, len(split))
        self.steps_per_epoch = len(split) // self.batch
        which, shares = share
        if self.batch % shares:
            raise UserError(
                f"a batch of {self.batch} images cannot be split into {shares} equal shares."
            )
        size = self.batch // shares
        self._mine = slice(which * size, (which + 1) * size)
        self._labels_N = np.array(split.labels_N)
        self._balanced = balance is not None and balance.balanced
        weighted = balance is not None and balance.weighted
        self._weights_N = image_weights(self._labels_N) if weighted else None
        self.pixels: Callable[[int], int] | None = None
        self._order = (-1, np.empty(0, np.int64))  # cache: epoch and its order

    def at(self, step: int, views: int = 1) -> Batch:
        """The batch of a step, counted from 0 over all epochs.

        With 2 `views` it has a second, independently augmented view in `second_NCHW`.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch
        indices_N = self._order_of(epoch)[start : start + self.batch][self._mine]
        images_NHWC = self.split.images_NHWC[indices_N]
        return Batch(
            self._view(images_NHWC, step, 0),
            torch.from_numpy(self._labels_N[indices_N]),
            torch.from_numpy(indices_N.copy()),
            self._view(images_NHWC, step, 1) if views == 2 else None,
            None if self._weights_N is None else torch.from_numpy(self._weights_N[indices_N]),
        )

    def _view(self, images_NHWC: npt.NDArray[np.uint8], step: int, view: int) -> Tensor:
        if self.augment is not None:
            tags = [self.seed, _AUGMENT, step, *([view] if view else [])]
            drawn = draw_variation(self.batch, self.augment, np.random.default_rng(tags))
            images_NHWC = apply_variation(images_NHWC, self.augment, drawn.of(self._mine))
            if self.augment.policy is not None:
                rng = np.random.default_rng([self.seed, _POLICY, step, view])
                seeds_N = rng.integers(0, 1 << 62, self.batch)[self._mine]
                images_NHWC = augment_images(images_NHWC, self.augment.policy, seeds_N)
        images_NCHW = normalise(images_NHWC, self.info)
        return images_NCHW if self.pixels is None else resize(images_NCHW, self.pixels(step))

    def _order_of(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, _ORDER, epoch])
            if self._balanced:
                self._order = (epoch, balanced_order(self._labels_N, rng))
            else:
                self._order = (epoch, rng.permutation(len(self.split)))
        return self._order[1]


class Variation(NamedTuple):
    """Random augmentation of some images: offsets from 0 (shift by -reach), and flips."""

    offsets_N2: npt.NDArray[np.int64]
    flipped_N: npt.NDArray[np.bool_]

    def of(self, images: slice) -> Variation:
        """The augmentation of a slice of the images."""
        return Variation(self.offsets_N2[images], self.flipped_N[images])


def draw_variation(count: int, augment: Augment, rng: np.random.Generator) -> Variation:
    """Draw the augmentation of `count` images."""
    offsets_N2 = rng.integers(0, 2 * augment.shift + 1, (count, 2))
    return Variation(offsets_N2, rng.random(count) < 0.5)


def apply_variation(
    images_NHWC: npt.NDArray[np.uint8], augment: Augment, variation: Variation
) -> npt.NDArray[np.uint8]:
    """Shift and flip a copy of images, padded with 0; `variation` has a row per image."""
    count, height, width, channels = images_NHWC.shape
    reach = augment.shift
    padded = np.zeros((count, height + 2 * reach, width + 2 * reach, channels), np.uint8)
    padded[:, reach : reach + height, reach : reach + width] = images_NHWC
    varied_NHWC = np.empty_like(images_NHWC)
    # Copying windows one by one is faster than a gather over all pixels.
    for index, (down, right) in enumerate(variation.offsets_N2.tolist()):
        varied_NHWC[index] = padded[index, down : down + height, right : right + width]
    if augment.flip:
        flipped_N = variation.flipped_N
        varied_NHWC[flipped_N] = varied_NHWC[flipped_N, :, ::-1]
    return varied_NHWC


def eval_batches(split: Split, info: DatasetInfo, batch: int) -> Iterator[Batch]:
    """Iterate over a split once, in order; the last batch may be smaller."""
    for start in range(0, len(split), batch):
        stop = min(start + batch, len(split))
        yield Batch(
            normalise(split.images_NHWC[start:stop], info),
            torch.tensor(np.array(split.labels_N[start:stop])),
            torch.arange(start, stop),
        )
