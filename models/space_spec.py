"""A search space as data: what its YAML file may hold.

The rules that need more than one field, or the table of operators, are in `space_rules`; reading
the file, with line numbers for its mistakes, is in `space_file`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.architecture import Setting

# YAML has lists where a pair is meant; what is in them stays strict.
Pair = Annotated[tuple[int, int], Field(strict=False)]


class SpaceError(ValueError):
    """A space that cannot be used, or an architecture that is not in the space."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImagesSpec(_Strict):
    """The images and classes that a space is shown for where no data set says otherwise."""

    size: int = Field(ge=1)
    channels: int = Field(3, ge=1)
    classes: int = Field(10, ge=2)


class StemSpec(_Strict):
    """The fixed first block."""

    operator: str
    channels: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)
    settings: dict[str, Setting] = {}


class OperatorSpec(_Strict):
    """One operator of a layer, with the values to choose from for each of its settings.

    Attributes:
        operator: its name in the table where the space calls it otherwise, which lets one
            operator stand in a layer several times with different settings.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, list[Setting]] = Field(init=False)

    operator: str | None = None

    @property
    def settings(self) -> dict[str, list[Setting]]:
        """The values of each setting; one with a default may be missing."""
        return dict(self.__pydantic_extra__)


class StageSpec(_Strict):
    """A run of layers of equal width; the first one changes size and channels.

    Attributes:
        layers: how many there are at most.
        stride: of the first layer.
        channels: the widths to choose from.
        skip: whether every layer but the first may be left out.
        min_layers: layers after these may be left out; `skip` means 1.
        operators: what a layer may be, by name.
    """

    layers: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)
    channels: list[int] = Field(min_length=1)
    skip: bool = False
    min_layers: int | None = Field(None, ge=1)
    operators: dict[str, OperatorSpec] = Field(min_length=1)

    @property
    def fixed_layers(self) -> int:
        """How many layers every architecture has; the later ones may be left out."""
        if self.min_layers is not None:
            return self.min_layers
        return 1 if self.skip else self.layers


class HeadSpec(_Strict):
    """The fixed last block."""

    operator: str
    settings: dict[str, Setting] = {}


class SpaceSpec(_Strict):
    """A space as its YAML file gives it.

    Attributes:
        name: what messages call it.
        sizes: height of the smallest and the largest image it is meant for, in pixels.
        images: what it is shown for by itself.
        resolutions: heights in pixels to which the network may shrink its images; None feeds them
            as they are.
        weights: whether the candidates of a layer share one set of weights in the supernet.
        stem: the first block.
        stages: the searched layers.
        head: the last block.
    """

    name: str = Field(min_length=1)
    sizes: Pair
    images: ImagesSpec | None = None
    resolutions: list[int] | None = Field(None, min_length=1)
    weights: Literal["shared", "private"] = "shared"
    stem: StemSpec
    stages: list[StageSpec] = Field(min_length=1)
    head: HeadSpec

    @property
    def shown_images(self) -> ImagesSpec:
        """Its own images, or 10 classes of colour images of the least size that it takes."""
        return self.images or ImagesSpec(size=max(self.sizes[0], *(self.resolutions or [1])))
