"""The `data` section of `params.yaml`, which the fetch and prepare stages share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from data.sources import SOURCES
from stages.common.params import Params, nearest


def _known_source(name: str) -> str:
    if name not in SOURCES:
        raise ValueError(f"unknown data source.{nearest(name, SOURCES)}")
    return name


class AugmentParams(Params):
    """How training images are varied, in every stage that trains."""

    flip: bool | None = None
    """Mirror images left to right; null: as suits the source (see `Source.flips`)."""
    shift: int = Field(2, ge=0, le=64)
    """Pixels an image moves at most, each way; black comes in."""


class DataParams(Params):
    """Which images, and how they become arrays."""

    source: Annotated[str, AfterValidator(_known_source)]
    """A name from the table of data sources."""
    path: str = Field(min_length=1)
    """Folder to read from; the fetch stage's own output means: get the data and put them there."""
    size: int = Field(ge=8, le=1024)
    """Height and width of the prepared images, in pixels."""
    fit: Literal["crop", "pad"] = "crop"
    """How images that are not square become so: cut around the centre, or black bars."""
    val_fraction: float = Field(gt=0, le=0.5)
    """Share of what is not test that choices are made on; unused where the source has a
    validation split of its own."""
    test_fraction: float = Field(gt=0, le=0.5)
    """Share kept for the final numbers; unused where the source has a test split of its own."""
    max_corrupt: int = Field(ge=0)
    """More unreadable images than this stop the run."""
    augment: AugmentParams = AugmentParams()
    """How training images are varied."""
    seed: int = Field(ge=0)
    """Where the splits are drawn from."""
