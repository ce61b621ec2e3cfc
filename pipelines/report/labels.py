"""The report's part on labels that contradict each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.clusters.issues import LabelIssues, LabelledImage
from data.dataset import SplitName, read_split
from pipelines.report.quality import picture

SHOWN = 20
"""Pairs with pictures; the file has all."""


@dataclass(frozen=True)
class Shown:
    """One image of a pair; no picture if `prepare` has dropped it."""

    file: str
    label: str
    split: SplitName | None
    picture: str | None


@dataclass(frozen=True)
class Contradictions:
    """The first pairs (kind and both images) and the number of all."""

    count: int
    pairs: tuple[tuple[str, Shown, Shown], ...]


def contradictions(data: Path) -> Contradictions | None:
    """Contradicting labels of a prepared data set; None without any."""
    if not (data / LabelIssues.FILE).is_file():
        return None
    found = LabelIssues.read(data).contradictions
    pairs = [
        (pair.kind, _shown(data, pair.first), _shown(data, pair.second)) for pair in found[:SHOWN]
    ]
    return Contradictions(len(found), tuple(pairs))


def _shown(data: Path, image: LabelledImage) -> Shown:
    if image.split is None or image.index is None:
        return Shown(image.file, image.label, None, None)
    pixels_HWC = read_split(data, image.split).images_NHWC[image.index]
    return Shown(image.file, image.label, image.split, picture(pixels_HWC))
