"""Compute logits and accuracy of the variants of one network on the data splits.

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
from devices.measure.inference import BATCH, Images, Logits, accuracy, reference_logits


@dataclass(frozen=True)
class Evaluation:
    """Logits and top-1 accuracy of one variant on one split."""

    logits_NK: Logits
    accuracy: float


def evaluate_module(module: nn.Module, split: Split, info: DatasetInfo) -> Evaluation:
    """Evaluate the trained network, in evaluation mode, on a split."""
    module.eval()
    with torch.no_grad():
        rows = [module(batch.images_NCHW).numpy() for batch in eval_batches(split, info, BATCH)]
    logits_NK = np.concatenate(rows)
    return Evaluation(logits_NK, accuracy(logits_NK, split))


def evaluate_onnx(model: Path, split: Split, info: DatasetInfo) -> Evaluation:
    """Evaluate an ONNX file in ONNX Runtime on a split, at batch 1, without Q/DQ fusion.

    ONNX Runtime with unfused Q/DQ pairs is the reference for all quantisation schemes, also if the
    delivered file's runtime is not available on this machine.
    """
    logits_NK = reference_logits(model, split, info)
    return Evaluation(logits_NK, accuracy(logits_NK, split))


def calibration_images(
    split: Split, info: DatasetInfo, count: int, rng: np.random.Generator
) -> Iterator[Images]:
    """Yield `count` random training images (or all if fewer), normalised, each (1, C, H, W)."""
    chosen = np.sort(rng.permutation(len(split))[:count])
    images_NCHW = normalise(np.asarray(split.images_NHWC[chosen]), info)
    yield from np.ascontiguousarray(images_NCHW.numpy())[:, np.newaxis]
