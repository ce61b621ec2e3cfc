"""The `data` section of `params.yaml`, shared by the fetch and prepare stages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from core.errors import nearest
from core.settings import Params, Seeded
from data.clusters.groups import check_group
from data.dataset import Augment
from data.sources import SOURCES
from data.sources.base import Layout
from data.sources.table import TableParams


def _known_source(name: str) -> str:
    if name not in SOURCES:
        raise ValueError(f"unknown data source.{nearest(name, SOURCES)}")
    return name


class AugmentParams(Params):
    """Augmentation of training images, in every stage that trains."""

    flip: bool | None = False
    """Random horizontal flips; null: the source's default (see `Source.flips`)."""
    shift: int = Field(0, ge=0, le=64)
    """Largest random shift in pixels in each direction; uncovered pixels are black."""

    def of(self, source: str) -> Augment:
        """The augmentation of a source's images."""
        flip = SOURCES[source].flips if self.flip is None else self.flip
        return Augment(flip=flip, shift=self.shift)


class DataParams(Seeded):
    """Which images, and how they are turned into arrays."""

    source: Annotated[str, AfterValidator(_known_source)]
    """Name of a data source."""
    path: str = Field(min_length=1)
    """Folder to read from; if it is the fetch stage's output, the data are downloaded to it."""
    size: int = Field(ge=8, le=1024)
    """Height and width of the prepared images, in pixels."""
    fit: Literal["crop", "pad"] = "crop"
    """How images are made square: centre crop, or padding with black."""
    val_fraction: float = Field(0.1, gt=0, le=0.5)
    """Share of the non-test images used for validation; unused if the source has a validation
    split of its own."""
    test_fraction: float = Field(0.15, gt=0, le=0.5)
    """Share of test images; unused if the source has a test split of its own."""
    max_corrupt: int = Field(0, ge=0)
    """Most unreadable images allowed; more stop the run."""
    group: Annotated[int | str | None, AfterValidator(check_group)] = None
    """What keeps images of one part, person or video in one split: the level of the folder that
    names it (1: the folder that holds the image), or a regular expression with (?P<group>...) that
    is searched in an image's path. null: the group column of a table, if it has one."""
    near_duplicates: bool | None = None
    """Whether images that differ by compression, size, brightness or a small crop alone are kept
    in one split, counted, and their contradicting labels listed; null: for your own images."""
    table: TableParams = TableParams()
    """Columns of a table of images."""
    augment: AugmentParams = AugmentParams()
    """Augmentation of training images."""

    @property
    def finds_near(self) -> bool:
        """Whether near-duplicates are searched."""
        own = not SOURCES[self.source].fetchable
        return own if self.near_duplicates is None else self.near_duplicates

    @property
    def layout(self) -> Layout:
        """Where labels, splits and groups stand."""
        return Layout(self.table, self.group)

    @model_validator(mode="after")
    def _has_groups(self) -> Self:
        if self.group is not None and SOURCES[self.source].fetchable:
            raise ValueError(f"group: the images of {self.source} have no names; remove it")
        return self

    @model_validator(mode="after")
    def _stays_in_view(self) -> Self:
        if self.augment.shift > self.size // 2:
            raise ValueError(
                f"augment.shift: {self.augment.shift} pixels move images of {self.size} pixels out "
                f"of view; at most {self.size // 2}"
            )
        return self
