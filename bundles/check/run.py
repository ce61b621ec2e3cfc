"""Run a bundle's network on this machine.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bundles.archive import BundleError
from bundles.golden import PREPROCESS, Float32, Preprocess, read_labels
from bundles.quality import read_quality
from bundles.read import Bundle, read_bundle
from data.images import load_image
from devices.runtimes.registry import backend, device_backend
from models.quality.metrics import probabilities

PORTABLE = "onnxruntime"
"""Backend of the portable file, used if the bundle's runtime is not available."""
UNSURE = "unsure"
"""Answer where no class is as probable as required."""


def predict(bundle: Path, images: Sequence[Path]) -> list[tuple[str, float]]:
    """Return the most probable label of image files of any size and mode, and its probability.

    Probabilities are at the temperature that the bundle has, or at 1.

    Raises:
        BundleError: the bundle is invalid, or cannot run on this machine.
        ValueError: an image cannot be read.
    """
    content = read_bundle(bundle)
    labels, how = read_labels(content), content.read_record(PREPROCESS, Preprocess)
    shape = how.image_shape
    # All images are read first, so that an invalid one fails early.
    inputs = [how(load_image(path, shape, how.fit, how.bits)[np.newaxis]) for path in images]
    logits_NK, _ = run_here(content, inputs)
    quality = read_quality(content)
    shares_NK = probabilities(logits_NK, 1.0 if quality is None else quality.temperature)
    return [(labels[row_K.argmax()], float(row_K.max())) for row_K in shares_NK]


def describe_confidence(bundle: Path, least: float) -> str:
    """Return a sentence on what answering only from the confidence `least` on does.

    Raises:
        BundleError: the bundle is invalid.
    """
    quality = read_quality(read_bundle(bundle))
    if quality is None:
        return (
            "the bundle has no quality.json: its probabilities are not calibrated, and the share "
            "of answered images is unknown; build it again."
        )
    row = quality.answers_at(least)
    errors = "none" if row.risk is None else f"{row.risk:.2%}"
    return (
        f"with confidence {row.threshold:g} or more, {row.coverage:.2%} of "
        f"{quality.val_images:,} validation images are answered, and {errors} of the answers "
        "are wrong."
    )


def run_here(bundle: Bundle, images: Sequence[Float32]) -> tuple[Float32, str]:
    """Run the delivered file, or the portable file if its runtime is not available.

    Returns logits (N, K) of N images (1, C, H, W), and the name of the runtime.
    """
    manifest, classes = bundle.manifest, len(read_labels(bundle))
    runtime = device_backend(manifest.device)
    entry, note = manifest.model.entry, ""
    if why_not_run := runtime.why_not_run(manifest.device):
        runtime, entry = backend(PORTABLE), manifest.model.portable
        found = runtime.capabilities()
        if not found.can_run:
            raise BundleError(f"the bundle cannot run here. {why_not_run} {found.reason}")
        note = f" on {entry} ({why_not_run})"
    rows = [np.empty((0, classes), np.float32)]
    with (
        bundle.unpacked() as folder,
        runtime.open(folder / entry, manifest.device.threads) as session,
    ):
        for image_1CHW in images:
            if tuple(session.input_shape) != image_1CHW.shape:
                raise BundleError(
                    f"{entry} has input shape {session.input_shape}, not {image_1CHW.shape}."
                )
            rows.append(session(image_1CHW))
            if rows[-1].shape != (1, classes):
                raise BundleError(
                    f"{bundle.path}: the output shape is {rows[-1].shape}, not {(1, classes)}."
                )
    return np.concatenate(rows), f"{runtime.runtime} {runtime.version()}{note}"
