"""Keys of `params.yaml` that earlier versions had, and what to write instead."""

from __future__ import annotations

import re

MOVED = {
    "bundle.signing_key": "moved to the root key signing_key.",
    "train.slice_images": "moved to train.slice.images.",
    "train.slice_difference": "moved to train.slice.difference.",
    "train.slice_agreement": "moved to train.slice.agreement.",
    "train.slice_accuracy_drop": "moved to train.slice.accuracy_drop.",
    "quantize.max_difference": "moved to quantize.limits.float32.difference.",
    "quantize.float32_agreement": "moved to quantize.limits.float32.agreement.",
    "quantize.float32_accuracy_drop": "moved to quantize.limits.float32.accuracy_drop.",
    "quantize.lower_difference": "moved to quantize.limits.lower.difference.",
    "quantize.min_agreement": "moved to quantize.limits.lower.agreement.",
    "quantize.lower_accuracy_drop": "moved to quantize.limits.lower.accuracy_drop.",
    "export.max_difference": "moved to export.limits.float32.difference.",
    "export.float32_agreement": "moved to export.limits.float32.agreement.",
    "export.float32_accuracy_drop": "moved to export.limits.float32.accuracy_drop.",
    "export.lower_difference": "moved to export.limits.lower.difference.",
    "export.min_agreement": "moved to export.limits.lower.agreement.",
    "export.lower_accuracy_drop": "moved to export.limits.lower.accuracy_drop.",
}
"""By dotted key: the rest of the error message, one sentence. An entry also covers what was below
its key. `devices.NAME` stands for every device."""


def moved(key: str) -> str | None:
    """What became of a key that is no longer known; None if it never existed."""
    return MOVED.get(re.sub(r"^devices\.[^.]+", "devices.NAME", key))
