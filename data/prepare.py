"""From decoded images to the prepared data set.

Axes: N images, H height, W width, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.files import sha256_file, write_array, write_array_batches
from data.balance import balance_of
from data.clusters.draw import split_groups
from data.clusters.issues import LabelIssues
from data.clusters.related import Related, label_issues, near_counts, relate, related_notes
from data.dataset import DatasetInfo, SplitName, images_file, labels_file
from data.settings import DataParams
from data.sources.base import Loaded
from data.splits import Indices, Splits, split
from data.store import Images, Rows, in_batches

LARGE_ERROR = 0.05
"""Sampling error of a validation accuracy above which the user is told."""


@dataclass(frozen=True)
class Part:
    """The images of one split."""

    images_NHWC: Images
    """Of the whole data set."""
    rows: Rows
    """Which of them, in order."""
    labels_N: Indices
    """Of the split."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Prepared:
    """A data set ready to be written, and notes for the user; `info.arrays` is still empty."""

    info: DatasetInfo
    splits: Mapping[SplitName, Part]
    issues: LabelIssues
    notes: tuple[str, ...] = ()

    def write(self, out: Path) -> None:
        """Write the arrays batch by batch, then the description: a folder with it is complete."""
        for name, part in self.splits.items():
            file, shape = out / images_file(name), (len(part), *part.images_NHWC.shape[1:])
            write_array_batches(
                file, shape, np.dtype(np.uint8), in_batches(part.images_NHWC, part.rows)
            )
            write_array(out / labels_file(name), part.labels_N)
        names = [file(name) for name in self.splits for file in (images_file, labels_file)]
        arrays = {name: sha256_file(out / name) for name in names}
        if self.issues.contradictions:
            self.issues.write(out)
        else:  # those of an earlier data set in this folder
            (out / LabelIssues.FILE).unlink(missing_ok=True)
        self.info.model_copy(update={"arrays": arrays}).write(out)


def sampling_error(images: int) -> float:
    """Largest half-width of the 95% interval of an accuracy on this many images."""
    return 1.96 * 0.5 / math.sqrt(images)


def prepare(loaded: Loaded, params: DataParams) -> Prepared:
    """Split a data set and describe it.

    Raises:
        UserError: too few classes, too few images in one of them, or groups that lie across
            the source's own splits.
    """
    if len(loaded.classes) < 2:
        raise UserError(f"a classifier needs at least two classes; found {list(loaded.classes)}.")
    related = relate(loaded, params)
    draw = split_groups if loaded.groups else split
    indices = draw(
        loaded.labels_N,
        related.clusters_N,
        loaded.given,
        loaded.classes,
        {"test": params.test_fraction, "val": params.val_fraction},
        np.random.default_rng(params.seed),
        related.dropped_N,
    )
    splits = {
        name: Part(loaded.images_NHWC, part, loaded.labels_N[part])
        for name, part in indices.parts.items()
    }
    own = related_notes(loaded, related, indices)
    if (error := sampling_error(len(splits["val"]))) > LARGE_ERROR:
        own.append(
            f"few validation images ({len(splits['val']):,}): an accuracy on them has a 95% "
            f"interval of up to ±{error:.0%}, and search, ranking and precision are decided on "
            f"them. Raise data.val_fraction, or add images."
        )
    info = _describe(loaded, params, related, indices, splits)
    balance, unequal = balance_of(params.class_weights, params.sampling, info.counts["train"])
    info = info.model_copy(update={"balance": balance})
    notes = (*loaded.notes, *own, *unequal)
    return Prepared(info, splits, label_issues(loaded, related, indices), notes)


def channel_statistics(
    images_NHWC: Images, rows: Rows | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels / 255 per channel, exact to six digits.

    The deviation is at least one grey level (1/255), so that a constant channel can be normalised.
    """
    channels = images_NHWC.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for batch_NHWC in in_batches(images_NHWC, rows):
        for channel in range(channels):
            counts[channel] += np.bincount(batch_NHWC[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255.0
    means = counts @ levels / counts.sum(axis=1)
    variances = (counts * (levels - means[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)
    stds = np.maximum(np.sqrt(variances), 1.0 / 255.0)
    return tuple(round(float(m), 6) for m in means), tuple(round(float(s), 6) for s in stds)


def _describe(
    loaded: Loaded,
    params: DataParams,
    related: Related,
    indices: Splits,
    splits: Mapping[SplitName, Part],
) -> DatasetInfo:
    _, height, width, channels = loaded.images_NHWC.shape
    mean, std = channel_statistics(loaded.images_NHWC, splits["train"].rows)
    classes = len(loaded.classes)
    counts = {
        name: np.bincount(part.labels_N, minlength=classes).tolist()
        for name, part in splits.items()
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
        source=_describe_source(loaded, related, indices),
        arrays={},
        bits=loaded.bits,
    )


def _describe_source(loaded: Loaded, related: Related, indices: Splits) -> dict[str, Any]:
    source: dict[str, Any] = {
        "checksums": dict(loaded.checksums),
        "images": len(loaded.labels_N),
        "corrupt": {"count": len(loaded.corrupt), "files": list(loaded.corrupt)},
        "own_test_split": "test" in loaded.given,
        "own_val_split": "val" in loaded.given,
        "skipped": dict(loaded.skipped),
        "duplicates": {
            "copies": related.exact.copies,
            "conflicting_labels": related.exact.conflicts,
            "dropped": len(indices.dropped),
        },
    }
    if related.near is not None:
        copies, across = near_counts(related.near, loaded)
        source["near_duplicates"] = {
            "copies": copies,
            "conflicting_labels": len(related.near.contradictions),
            "across_own_splits": across,
        }
    if loaded.groups:
        source["groups"] = {
            name: len({loaded.groups[index] for index in part.tolist()})
            for name, part in indices.parts.items()
        }
    return source
