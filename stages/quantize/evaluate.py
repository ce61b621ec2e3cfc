"""Logits and accuracy of one network in its several forms, on the splits' images.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.dataset import DatasetInfo, Split
from data.stream import eval_batches, normalise
from stages.common.inference import BATCH, Images, Logits, accuracy, reference_logits


@dataclass(frozen=True)
class Judged:
    """One form of the network on one split: its logits, and its top-1 accuracy."""

    logits_NK: Logits
    accuracy: float


def judge_module(module: nn.Module, split: Split, info: DatasetInfo) -> Judged:
    """Run the trained network, in evaluation mode, over a split."""
    module.eval()
    with torch.no_grad():
        rows = [module(batch.images_NCHW).numpy() for batch in eval_batches(split, info, BATCH)]
    logits_NK = np.concatenate(rows)
    return Judged(logits_NK, accuracy(logits_NK, split))


def judge_onnx(model: Path, split: Split, info: DatasetInfo) -> Judged:
    """Run an ONNX file in ONNX Runtime over a split, one image at a time, as the file states it.

    ONNX Runtime with Q/DQ pairs kept apart is the reference for every family's file, also for one
    whose own runtime needs a device that is not here.
    """
    logits_NK = reference_logits(model, split, info)
    return Judged(logits_NK, accuracy(logits_NK, split))


def calibration_images(
    split: Split, info: DatasetInfo, count: int, rng: np.random.Generator
) -> Iterator[Images]:
    """`count` random training images (all of them if there are fewer), normalised, (1, C, H, W)."""
    chosen = np.sort(rng.permutation(len(split))[:count])
    images_NCHW = normalise(np.asarray(split.images_NHWC[chosen]), info)
    yield from np.ascontiguousarray(images_NCHW.numpy())[:, np.newaxis]
