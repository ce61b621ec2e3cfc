"""Schema of a search space's YAML file.

Rules across fields or on operators are in `space_rules`; reading the file, with line numbers of
errors, is in `space_file`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from core.settings import Params
from models.space.architecture import Setting

# A YAML list is accepted as a tuple; its items stay strict.
Pair = Annotated[tuple[int, int], Field(strict=False)]


class SpaceError(ValueError):
    """An invalid space, or an architecture that is not in the space."""


class ImagesSpec(Params):
    """Default images and classes of a space, for use without a data set."""

    size: int = Field(ge=1)
    channels: int = Field(3, ge=1)
    classes: int = Field(10, ge=2)


class StemSpec(Params):
    """The fixed first block."""

    operator: str
    channels: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)
    settings: dict[str, Setting] = Field({})


class OperatorSpec(Params):
    """One operator of a layer, with a list of choices for each setting.

    Attributes:
        operator: name in the operator table if it differs from the key, so that a layer can list
            one operator several times with different settings.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, list[Setting]] = Field(init=False)

    operator: str | None = None

    @property
    def settings(self) -> dict[str, list[Setting]]:
        """Choices of each setting; settings with a default may be missing."""
        return dict(self.__pydantic_extra__)


class StageSpec(Params):
    """A sequence of layers of equal width; the first one changes size and channels.

    Attributes:
        layers: maximum number of layers.
        stride: of the first layer.
        channels: choices of the width.
        skip: whether all layers but the first can be skipped; equivalent to `min_layers` 1.
        min_layers: number of layers that cannot be skipped.
        operators: choices of the operator, by name.
    """

    layers: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)
    channels: list[int] = Field(min_length=1)
    skip: bool = False
    min_layers: int | None = Field(None, ge=1)
    operators: dict[str, OperatorSpec] = Field(min_length=1)

    @property
    def fixed_layers(self) -> int:
        """Number of layers that cannot be skipped."""
        if self.min_layers is not None:
            return self.min_layers
        return 1 if self.skip else self.layers


class HeadSpec(Params):
    """The fixed last block."""

    operator: str
    settings: dict[str, Setting] = Field({})


class SpaceSpec(Params):
    """Content of a space's YAML file.

    Attributes:
        name: used in messages.
        sizes: smallest and largest supported image height, in pixels.
        images: default images.
        resolutions: choices of the input resolution in pixels; None uses images at their size.
        weights: whether the candidates of a layer share weights in the supernet.
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
        """`images`, or 10 classes of colour images of the smallest supported size."""
        return self.images or ImagesSpec(size=max(self.sizes[0], *(self.resolutions or [1])))
