"""The `data` section of `params.yaml`, shared by the fetch and prepare stages."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from core.errors import nearest
from core.settings import Params, Seeded
from data.balance import ClassWeights, Sampling
from data.clusters.groups import check_group
from data.dataset import NO_POLICY, POLICIES, Augment, Policy, PolicyName
from data.sources import SOURCES
from data.sources.base import Layout
from data.sources.table import TableParams


def _known_source(name: str) -> str:
    if name not in SOURCES:
        raise ValueError(f"unknown data source.{nearest(name, SOURCES)}")
    return name


class AugmentParams(Params):
    """Augmentation of training images, in every stage that trains; also one word, the policy."""

    policy: PolicyName | None = None
    """none, light (crops of 0.7 or more, colour 0.1), standard (crops of 0.35 or more, colour 0.3,
    erasing 0.1) or strong (crops of 0.2 or more, TrivialAugment, erasing 0.25); null: the
    source's default (see `Source.policy`)."""
    scale: float | None = Field(None, gt=0, le=1)
    """Least share of the area that random resized crops keep; null: the policy's."""
    trivial: bool | None = None
    """Whether TrivialAugment changes each image; null: the policy's."""
    colour: float | None = Field(None, ge=0, le=1)
    """Largest relative change of brightness, contrast and saturation; null: the policy's."""
    erase: float | None = Field(None, ge=0, le=1)
    """Probability that a rectangle of an image is erased; null: the policy's."""

    flip: bool | None = False
    """Random horizontal flips; null: the source's default (see `Source.flips`)."""
    shift: int = Field(0, ge=0, le=64)
    """Largest random shift in pixels in each direction; uncovered pixels are black."""

    def of(self, source: str) -> Augment:
        """The augmentation of a source's images."""
        flip = SOURCES[source].flips if self.flip is None else self.flip
        return Augment(flip=flip, shift=self.shift, policy=self._policy(source))

    def _policy(self, source: str) -> Policy | None:
        name = SOURCES[source].policy if self.policy is None else self.policy
        own = {key: getattr(self, key) for key in Policy.model_fields}
        own = {key: value for key, value in own.items() if value is not None}
        base = NO_POLICY if name == "none" else POLICIES[name]
        policy = base.model_copy(update=own)
        return None if policy == NO_POLICY else policy

    @model_validator(mode="before")
    @classmethod
    def _of_word(cls, given: Any) -> Any:
        return {"policy": given} if isinstance(given, str) else given


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
    class_weights: ClassWeights = "auto"
    """auto: if the largest class has more than 3 times the training images of the smallest, every
    class has the same weight in the loss of every stage that trains on labels. none: every image
    has the same weight."""
    sampling: Sampling = "natural"
    """natural: a training epoch has every image once. balanced: equally many images of each class
    (rare ones repeated, some of frequent ones left out); class_weights then does nothing."""

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
