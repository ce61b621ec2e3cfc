"""The report's part on labels that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.clusters.issues import LabelIssues, LabelledImage
from data.dataset import read_split
from pipelines.report.quality import picture

SHOWN = 20
"""Pairs with pictures; the file has all."""


def contradictions(data: Path) -> dict[str, Any] | None:
    """Number of contradicting labels of a prepared data set, and the first pairs; None without any.

    A pair is its kind and both images, each with its picture (None if `prepare` has dropped it).
    """
    if not (data / LabelIssues.FILE).is_file():
        return None
    found = LabelIssues.read(data).contradictions
    pairs = [
        (pair.kind, [(image, _picture(data, image)) for image in (pair.first, pair.second)])
        for pair in found[:SHOWN]
    ]
    return {"count": len(found), "pairs": pairs}


def _picture(data: Path, image: LabelledImage) -> str | None:
    if image.split is None or image.index is None:
        return None
    return picture(read_split(data, image.split).images_NHWC[image.index])
