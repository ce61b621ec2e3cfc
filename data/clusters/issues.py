"""Labels that contradict each other, listed for the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from core.artifact import Artifact, Record
from data.dataset import SplitName


class LabelledImage(Record):
    """One image of a pair."""

    file: str
    label: str
    split: SplitName | None
    """None: dropped as a duplicate across the source's splits."""
    index: int | None
    """Position in the split's arrays."""


class Contradiction(Record):
    """Two images that show the same and have different labels."""

    kind: Literal["identical", "near"]
    first: LabelledImage
    second: LabelledImage


class LabelIssues(Artifact):
    """The contradicting labels of a data set; written only if there are some."""

    SCHEMA: ClassVar[str] = "netwright/label-issues/1"
    FILE: ClassVar[str] = "label_issues.json"

    contradictions: tuple[Contradiction, ...]
    """For an image with many, one pair."""


def locate(
    parts: Mapping[SplitName, np.ndarray], count: int
) -> tuple[list[SplitName | None], list[int | None]]:
    """The split and the position in it of each of `count` images; None where in no split."""
    splits: list[SplitName | None] = [None] * count
    places: list[int | None] = [None] * count
    for name, part in parts.items():
        for place, index in enumerate(part.tolist()):
            splits[index], places[index] = name, place
    return splits, places
