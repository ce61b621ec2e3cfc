"""Logits and accuracy of one network in its several forms, on the splits' images.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from data.dataset import DatasetInfo, Split
from data.stream import eval_batches, normalise
from devices.backends import backend

BATCH = 256
"""Images per forward pass of the trained network; it does not change the result's meaning."""

Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """One form of the network on one split: its logits, and its top-1 accuracy."""

    logits_NK: npt.NDArray[np.float32]
    accuracy: float


def judge_module(module: nn.Module, split: Split, info: DatasetInfo) -> Judged:
    """Run the trained network, in evaluation mode, over a split."""
    module.eval()
    with torch.no_grad():
        rows = [module(batch.images_NCHW).numpy() for batch in eval_batches(split, info, BATCH)]
    return _judged(np.concatenate(rows), split)


def judge_onnx(model: Path, split: Split, info: DatasetInfo) -> Judged:
    """Run an ONNX file in ONNX Runtime over a split, one image at a time, exactly as shipped.

    ONNX Runtime is the reference for every family's file, also for one whose own runtime needs
    a device that is not here: it computes what the file says.
    """
    session = backend("onnxruntime").open(model, threads=1)
    try:
        rows = [session(image_1CHW) for image_1CHW in single_images(split, info)]
    finally:
        session.close()
    return _judged(np.concatenate(rows), split)


def single_images(split: Split, info: DatasetInfo) -> Iterator[Images]:
    """The normalised images of a split, in order, each (1, C, H, W) in plain row-major memory."""
    for batch in eval_batches(split, info, BATCH):
        images_NCHW = np.ascontiguousarray(batch.images_NCHW.numpy())
        yield from images_NCHW[:, np.newaxis]


def calibration_images(
    split: Split, info: DatasetInfo, count: int, rng: np.random.Generator
) -> Iterator[Images]:
    """`count` random training images (all of them if there are fewer), normalised, (1, C, H, W)."""
    chosen = np.sort(rng.permutation(len(split))[:count])
    images_NCHW = normalise(np.asarray(split.images_NHWC[chosen]), info)
    yield from np.ascontiguousarray(images_NCHW.numpy())[:, np.newaxis]


def _judged(logits_NK: npt.NDArray[np.float32], split: Split) -> Judged:
    hits = logits_NK.argmax(1) == np.asarray(split.labels_N)
    return Judged(logits_NK, float(hits.mean()))
