"""Synthetic images of Fashion-MNIST's shape that a network can learn in some steps.

Axes: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import numpy as np

from data.dataset import Augment, DatasetInfo, Split
from models.training.learning import Images

PIXELS, CLASSES = 28, 10
_COARSE = 7
"""Pixels of a class's pattern, each repeated to `PIXELS`."""
_NOISE = 40.0
"""Standard deviation of the noise on pixels from 0 to 255."""


def learnable_images(train: int = 768, held_out: int = 256, seed: int = 0) -> Images:
    """Images (28, 28, 1) of ten random patterns with noise, as an open prepared data set."""
    rng = np.random.default_rng(seed)
    coarse_KHW = rng.integers(0, 256, (CLASSES, _COARSE, _COARSE))
    patterns_KHW = np.kron(coarse_KHW, np.ones((PIXELS // _COARSE, PIXELS // _COARSE)))

    def draw(count: int) -> Split:
        labels_N = rng.integers(0, CLASSES, count)
        noise_NHW = rng.normal(0.0, _NOISE, (count, PIXELS, PIXELS))
        pixels_NHW = np.clip(patterns_KHW[labels_N] + noise_NHW, 0, 255)
        return Split(pixels_NHW.astype(np.uint8)[..., np.newaxis], labels_N.astype(np.int64))

    splits = draw(train), draw(held_out), draw(held_out)
    shares = splits[0].images_NHWC / 255
    info = DatasetInfo(
        name="synthetic",
        image_shape=(1, PIXELS, PIXELS),
        classes=tuple("0123456789"),
        mean=(float(shares.mean()),),
        std=(float(shares.std()),),
        counts={},
        augment=Augment(flip=False, shift=2),
        fit="crop",
        source={},
        arrays={},
    )
    return Images(info, *splits)
