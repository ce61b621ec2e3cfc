"""Run a bundle's network on this machine.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bundles.archive import BundleError
from bundles.golden import PREPROCESS, Float32, Preprocess, read_labels
from bundles.read import Bundle, read_bundle
from data.images import load_image
from devices.runtimes.registry import backend, device_backend

PORTABLE = "onnxruntime"
"""Backend of the portable file, used if the bundle's runtime is not available."""


def predict(bundle: Path, images: Sequence[Path]) -> list[tuple[str, float]]:
    """Return the most probable label of image files of any size and mode, and its probability.

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
    weights_NK = np.exp(logits_NK.astype(np.float64) - logits_NK.max(1, keepdims=True))
    shares_NK = weights_NK / weights_NK.sum(1, keepdims=True)
    return [(labels[row_K.argmax()], float(row_K.max())) for row_K in shares_NK]


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
