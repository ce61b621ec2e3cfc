"""Logits of a network on a split's images, one image at a time as on the device.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.dataset import DatasetInfo, Split
from data.stream import eval_batches
from devices.runtimes.onnxruntime.backend import open_reference

BATCH = 256
"""Images normalised per batch; inference is at batch size 1."""

Images = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float32]


def single_images(split: Split, info: DatasetInfo) -> Iterator[Images]:
    """The normalised images of a split, in order, each (1, C, H, W) in plain row-major memory."""
    for batch in eval_batches(split, info, BATCH):
        images_NCHW = np.ascontiguousarray(batch.images_NCHW.numpy())
        yield from images_NCHW[:, np.newaxis]


def reference_logits(model: Path, split: Split, info: DatasetInfo) -> Logits:
    """Logits (N, K) of an ONNX file's reference semantics, whatever this CPU's int8 kernels do."""
    with open_reference(model) as session:
        return np.concatenate([session(image_1CHW) for image_1CHW in single_images(split, info)])


def accuracy(logits_NK: Logits, split: Split) -> float:
    """Top-1 share of a split's images."""
    return float((logits_NK.argmax(1) == np.asarray(split.labels_N)).mean())
