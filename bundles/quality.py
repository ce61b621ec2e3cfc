"""`quality.json` of a bundle, and the device's limits on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from bundles.archive import Archive
from devices.device import Device
from models.quality.record import MANY, Quality, QualitySummary

FILE = Quality.FILE
ROUNDING = 2e-6
"""Largest difference of two recorded shares that only rounding explains."""
LISTED = 5
"""Largest number of classes that a reason names."""


class _QualityFile(Quality):
    """The file with its schema, as it is in an archive."""

    schema_: Literal["netwright/quality/1"] = Field(alias="schema")


def read_quality(archive: Archive) -> Quality | None:
    """Read the metrics of a bundle; None if it was built before they were recorded.

    Raises:
        BundleError: the file is malformed.
    """
    if FILE not in archive.files:
        return None
    return archive.read_record(FILE, _QualityFile)


def find_contradictions(quality: Quality) -> Iterator[str]:
    """Yield the metrics that do not follow from the confusion matrix, one phrase each."""
    labels = [row.label for row in quality.classes]
    if {*quality.confusion} != {*labels}:
        yield "its confusion matrix has other classes"
        return
    right = {label: quality.confusion[label].get(label, 0) for label in labels}
    for row in quality.classes:
        images = sum(quality.confusion[row.label].values())
        predicted = sum(other.get(row.label, 0) for other in quality.confusion.values())
        expected = (images, predicted, _share(right[row.label], predicted))
        if (row.images, row.predicted, row.precision) != expected or row.recall != _share(
            right[row.label], images
        ):
            yield f"its confusion matrix gives other numbers for the class {row.label!a}"
    images = sum(row.images for row in quality.classes)
    if quality.images != images or quality.accuracy != _share(sum(right.values()), images):
        yield "its confusion matrix gives another accuracy"
    every = quality.answers[0]
    right_share = 1 - (1.0 if every.test_risk is None else every.test_risk)
    if every.test_coverage != 1 or abs(right_share - quality.accuracy) > ROUNDING:
        yield "its answers at confidence 0 are not those of its accuracy"
    recalls = [row.recall for row in quality.classes if row.recall is not None]
    if not recalls or abs(sum(recalls) / len(recalls) - quality.balanced_accuracy) > ROUNDING:
        yield "its confusion matrix gives another balanced accuracy"


def check_quality(quality: QualitySummary | None, device: Device) -> Iterator[tuple[bool, str]]:
    """Yield whether each limit of the device on the metrics is met, with a sentence."""
    if quality is None:
        for name in ("min_balanced_accuracy", "min_class_recall", "max_ece"):
            if getattr(device, name) is not None:
                yield False, f"{name} is required, and the bundle has no {FILE}"
        return
    yield _balanced(quality, device.min_balanced_accuracy)
    yield _recall(quality, device.min_class_recall)
    if device.max_ece is not None:
        found = f"calibration error {quality.ece:.4f}"
        if quality.ece <= device.max_ece:
            yield True, f"{found} is within max_ece {device.max_ece:g}"
        else:
            yield False, f"{found} is over max_ece {device.max_ece:g}"


def _balanced(quality: QualitySummary, least: float | None) -> tuple[bool, str]:
    found = f"balanced accuracy {quality.balanced_accuracy:.4f}"
    if least is None:
        if quality.balanced_accuracy > quality.chance + ROUNDING:
            return True, f"{found} is above the {quality.chance:.4f} of a constant answer"
        return False, (
            f"{found} is no better than the {quality.chance:.4f} of a network that always gives "
            "the same answer"
        )
    if quality.balanced_accuracy >= least:
        return True, f"{found} reaches the required {least:g}"
    return False, f"{found} is below the required {least:g}"


def _recall(quality: QualitySummary, least: float | None) -> tuple[bool, str]:
    found = f"smallest recall of a class {quality.min_class_recall:.4f} ({quality.worst_class})"
    if least is None:
        if quality.unrecognised:
            names = ", ".join(quality.unrecognised[:LISTED])
            more = len(quality.unrecognised) - LISTED
            names += f" and {more} more" if more > 0 else ""
            return False, f"no image is recognised of {names}, with {MANY} or more test images each"
        return True, f"{found}; no class with {MANY} or more test images is missed altogether"
    if quality.min_class_recall >= least:
        return True, f"{found} reaches the required {least:g}"
    return False, f"{found} is below the required {least:g}"


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
