"""From decoded images to the prepared data set.

Axes: N images, H height, W width, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from core.files import sha256_file, write_array
from data.balance import balance_of
from data.dataset import DatasetInfo, Split, SplitName, images_file, labels_file
from data.image_walk import join_first, pluralise
from data.settings import DataParams
from data.sources.base import Loaded
from data.splits import Duplicates, Splits, find_duplicates, split

LARGE_ERROR = 0.05
"""Sampling error of a validation accuracy above which the user is told."""
_CHUNK = 4096  # images per histogram update


@dataclass(frozen=True)
class Prepared:
    """A data set ready to be written, and notes for the user; `info.arrays` is still empty."""

    info: DatasetInfo
    splits: Mapping[SplitName, Split]
    notes: tuple[str, ...] = ()

    def write(self, out: Path) -> None:
        """Write the arrays, then the description: a folder with it is complete."""
        for name, part in self.splits.items():
            write_array(out / images_file(name), part.images_NHWC)
            write_array(out / labels_file(name), part.labels_N)
        names = [file(name) for name in self.splits for file in (images_file, labels_file)]
        arrays = {name: sha256_file(out / name) for name in names}
        self.info.model_copy(update={"arrays": arrays}).write(out)


def sampling_error(images: int) -> float:
    """Largest half-width of the 95% interval of an accuracy on this many images."""
    return 1.96 * 0.5 / math.sqrt(images)


def prepare(loaded: Loaded, params: DataParams) -> Prepared:
    """Split a data set and describe it.

    Raises:
        UserError: too few classes, or too few images in one of them.
    """
    if len(loaded.classes) < 2:
        raise UserError(f"a classifier needs at least two classes; found {list(loaded.classes)}.")
    duplicates = find_duplicates(loaded.images_NHWC, loaded.labels_N)
    indices = split(
        loaded.labels_N,
        duplicates.groups_N,
        loaded.given,
        loaded.classes,
        {"test": params.test_fraction, "val": params.val_fraction},
        np.random.default_rng(params.seed),
    )
    splits = {
        name: Split(loaded.images_NHWC[part], loaded.labels_N[part])
        for name, part in indices.parts.items()
    }
    own = _duplicate_notes(loaded, duplicates, indices)
    if (error := sampling_error(len(splits["val"]))) > LARGE_ERROR:
        own.append(
            f"few validation images ({len(splits['val']):,}): an accuracy on them has a 95% "
            f"interval of up to ±{error:.0%}, and search, ranking and precision are decided on "
            f"them. Raise data.val_fraction, or add images."
        )
    info = _describe(loaded, params, duplicates, indices, splits)
    balance, unequal = balance_of(params.class_weights, params.sampling, info.counts["train"])
    info = info.model_copy(update={"balance": balance})
    return Prepared(info, splits, (*loaded.notes, *own, *unequal))


def _duplicate_notes(loaded: Loaded, duplicates: Duplicates, indices: Splits) -> list[str]:
    """Notes on contradicting labels and on images dropped from splits."""
    notes = []
    if duplicates.conflicts:
        listed = _pairs(loaded, duplicates.contradictions)
        notes.append(
            "identical images with different labels: "
            f"{pluralise(duplicates.conflicts, 'image')}{listed}."
        )
    if len(indices.dropped):
        groups_N = duplicates.groups_N
        kept = np.setdiff1d(np.arange(len(groups_N)), indices.dropped)
        # Of duplicates, those in train are dropped before those in val.
        owner = dict(zip(groups_N[kept].tolist(), kept.tolist(), strict=True))
        pairs = [(index, owner[int(groups_N[index])]) for index in indices.dropped.tolist()]
        notes.append(
            "dropped from train or val as duplicates of test or validation images: "
            f"{pluralise(len(pairs), 'image')}{_pairs(loaded, pairs)}."
        )
    return notes


def _pairs(loaded: Loaded, pairs: Sequence[tuple[int, int]]) -> str:
    """Format the files of some pairs; empty if images have no files of their own."""
    if not loaded.files:
        return ""
    files = [f"{loaded.files[one]} = {loaded.files[other]}" for one, other in pairs]
    return f" ({join_first(files)})"


def channel_statistics(
    images_NHWC: npt.NDArray[np.uint8],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels / 255 per channel, exact to six digits.

    The deviation is at least one grey level (1/255), so that a constant channel can be normalised.
    """
    channels = images_NHWC.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images_NHWC), _CHUNK):
        for channel in range(channels):
            values = images_NHWC[start : start + _CHUNK, ..., channel]
            counts[channel] += np.bincount(values.ravel(), minlength=256)
    levels = np.arange(256) / 255.0
    means = counts @ levels / counts.sum(axis=1)
    variances = (counts * (levels - means[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)
    stds = np.maximum(np.sqrt(variances), 1.0 / 255.0)
    return tuple(round(float(m), 6) for m in means), tuple(round(float(s), 6) for s in stds)


def _describe(
    loaded: Loaded,
    params: DataParams,
    duplicates: Duplicates,
    indices: Splits,
    splits: Mapping[SplitName, Split],
) -> DatasetInfo:
    _, height, width, channels = loaded.images_NHWC.shape
    mean, std = channel_statistics(splits["train"].images_NHWC)
    classes = len(loaded.classes)
    counts = {
        name: np.bincount(part.labels_N, minlength=classes).tolist()
        for name, part in splits.items()
    }
    source: dict[str, Any] = {
        "checksums": dict(loaded.checksums),
        "images": len(loaded.labels_N),
        "corrupt": {"count": len(loaded.corrupt), "files": list(loaded.corrupt)},
        "own_test_split": "test" in loaded.given,
        "own_val_split": "val" in loaded.given,
        "skipped": dict(loaded.skipped),
        "duplicates": {
            "copies": duplicates.copies,
            "conflicting_labels": duplicates.conflicts,
            "dropped": len(indices.dropped),
        },
    }
    return DatasetInfo(
        name=params.source,
        image_shape=(channels, height, width),
        classes=loaded.classes,
        mean=mean,
        std=std,
        counts={n: dict(zip(loaded.classes, c, strict=True)) for n, c in counts.items()},
        augment=params.augment.of(params.source),
        fit=params.fit,
        source=source,
        arrays={},
        bits=loaded.bits,
    )
