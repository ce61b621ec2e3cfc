"""Schema and rules of a search space's YAML file.

A part checks its own values; rules between parts are checked once every part is valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from core.settings import SENTENCE, Params
from models.space.architecture import RESIZE, Option, Setting
from models.space.operators import (
    OPERATORS,
    canonical,
    cells,
    entry_problems,
    operator_problem,
    setting_problems,
)
from models.space.operators.base import OperatorError

Place = tuple[str | int, ...]
"""Path of keys and list indices to a value."""
Error = tuple[Place, str]
PIXELS = [int(pixels) for pixels in OPERATORS[RESIZE].settings["to"]]
Width = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=PIXELS[0], le=PIXELS[-1])]
Share = Annotated[float, Field(gt=0, le=1)]
Stride = Annotated[int, Field(ge=1, le=2)]
_PROBE_SIZE = 8  # operators restrict channels, not sizes
T = TypeVar("T")


class SpaceError(ValueError):
    """An invalid space, or an architecture that is not in the space."""


def _refuse(found: Iterable[Error]) -> None:
    """Raise errors at places below the validated value."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError(SENTENCE, "{text}", {"text": text}), loc=place, input=None
        )
        for place, text in found
    ]
    if details:
        raise ValidationError.from_exception_data(SENTENCE, details)


def _distinct(values: list[T]) -> list[T]:
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if twice:
        raise ValueError(f"{twice[0]} is listed twice")
    return values


def _setting(value: Any) -> Setting:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number or a string")
    return value


def _sizes(pair: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= pair[0] <= pair[1]:
        raise ValueError("must be [smallest, largest], both at least 1")
    return pair


def _check_operators(given: Any) -> Any:
    """Check names and settings of a stage's operators as plain values, to find every error."""
    _refuse(entry_problems(given) if isinstance(given, dict) else ())
    return given


Resolutions = Annotated[list[Pixels], Field(min_length=1), AfterValidator(_distinct)]
Shares = Annotated[list[Share], Field(min_length=1), AfterValidator(_distinct)]
StrideRows = Annotated[list[list[Stride]], Field(min_length=1), AfterValidator(_distinct)]


class ImagesSpec(Params):
    """Default images and classes of a space, for use without a data set."""

    size: int = Field(ge=1)
    channels: int = Field(3, ge=1)
    classes: int = Field(10, ge=2)


class HeadSpec(Params):
    """The fixed last block."""

    place: ClassVar[str] = "head"
    """Of its operator, see `Operator.place`."""

    operator: str
    settings: dict[str, Annotated[Setting, PlainValidator(_setting)]] = Field({})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problem := operator_problem(self.operator, self.place):
            _refuse([(("operator",), problem)])
        lists = {name: [value] for name, value in self.settings.items()}
        problems = setting_problems(self.operator, lists)
        _refuse((("settings", name), problem) for name, problem in problems)
        return self

    @property
    def option(self) -> Option:
        """The operator with its settings."""
        return Option(self.operator, canonical(self.operator, self.settings))


class StemSpec(HeadSpec):
    """The fixed first block."""

    place: ClassVar[str] = "layer"

    channels: int = Field(ge=1)
    stride: Stride | None = None
    """Required unless the space has `strides`."""


class OperatorSpec(Params):
    """One operator of a layer, with a list of choices for each setting."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, list[Setting]] = Field(init=False)

    operator: str | None = None
    """Name in the operator table if it differs from the key, so that a layer can list one operator
    several times with different settings."""

    @property
    def settings(self) -> dict[str, list[Setting]]:
        """Choices of each setting; settings with a default may be missing."""
        return dict(self.__pydantic_extra__)


class StageSpec(Params):
    """A sequence of layers of equal width; the first one changes size and channels."""

    layers: int = Field(ge=1)
    """Maximum number of layers."""
    stride: Stride | None = None
    """Of the first layer; required unless the space has `strides`."""
    channels: Annotated[list[Width], Field(min_length=1), AfterValidator(_distinct)]
    """Choices of the width."""
    skip: bool = False
    """Whether all layers but the first can be skipped; equivalent to `min_layers` 1."""
    min_layers: int | None = Field(None, ge=1)
    """Number of layers that cannot be skipped."""
    operators: Annotated[
        dict[str, OperatorSpec], Field(min_length=1), BeforeValidator(_check_operators)
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        found: list[Error] = []
        if self.min_layers is not None and self.min_layers > self.layers:
            text = f"{self.min_layers} is more than the stage's {self.layers}."
            found.append((("min_layers",), text))
        if self.min_layers is not None and self.skip:
            found.append((("skip",), "skip means min_layers: 1; use only one of them."))
        taken: dict[Option, str] = {}
        for name in self.operators:
            same = [o for o in self.options(name) if taken.setdefault(o, name) != name]
            if same:
                shown = ", ".join(f"{key} {value}" for key, value in same[0].settings)
                text = f"{same[0].operator} with {shown or 'no settings'} is also in "
                text += f"{taken[same[0]]}, which would count networks twice. Remove one of them."
                found.append((("operators", name), text))
        _refuse(found)
        return self

    @property
    def fixed_layers(self) -> int:
        """Number of layers that cannot be skipped."""
        if self.min_layers is not None:
            return self.min_layers
        return 1 if self.skip else self.layers

    def options(self, name: str) -> list[Option]:
        """All combinations of settings of one of the operators."""
        spec = self.operators[name]
        operator, settings = spec.operator or name, spec.settings
        points = (zip(settings, point, strict=True) for point in product(*settings.values()))
        return [Option(operator, canonical(operator, dict(point))) for point in points]


class SpaceSpec(Params):
    """Content of a space's YAML file."""

    name: str = Field(min_length=1)
    """Used in messages."""
    # A YAML list is accepted as a tuple; its items stay strict.
    sizes: Annotated[tuple[int, int], Field(strict=False), AfterValidator(_sizes)]
    """Smallest and largest supported image height, in pixels."""
    images: ImagesSpec | None = None
    resolutions: Resolutions | None = None
    """Choices of the input resolution; None uses images at their size."""
    resolution_shares: Shares | None = None
    """The same as shares of the images' size, for a space of images of several sizes."""
    strides: StrideRows | None = None
    """Choices of the strides: rows of the stem's and every stage's."""
    weights: Literal["shared", "private"] = "shared"
    """Whether the candidates of a layer share weights in the supernet."""
    stem: StemSpec
    stages: list[StageSpec] = Field(min_length=1)
    head: HeadSpec

    @property
    def stride_rows(self) -> tuple[tuple[int, ...], ...]:
        """Rows of strides: the stem's, then each stage's; one row if they are not searched."""
        if self.strides:
            return tuple(map(tuple, self.strides))
        return ((self.stem.stride or 1, *(stage.stride or 1 for stage in self.stages)),)

    @property
    def shown_images(self) -> ImagesSpec:
        """`images`, or 10 classes of colour images of the smallest supported size."""
        return self.images or ImagesSpec(size=max(self.sizes[0], *(self.resolutions or [1])))

    @model_validator(mode="after")
    def _check(self) -> Self:
        smallest, largest = self.sizes
        pixels: dict[Place, int] = {
            ("resolutions", number): size for number, size in enumerate(self.resolutions or ())
        }
        above = max(self.resolutions or [0])
        if self.images:
            pixels["images", "size"] = self.images.size
        found: list[Error] = [
            (place, f"{size} is outside sizes, {smallest} to {largest}.")
            for place, size in pixels.items()
            if not smallest <= size <= largest
        ]
        if not found and self.images and self.images.size < above:
            found.append((("images", "size"), f"{self.images.size} is below resolution {above}."))
        if self.resolutions and self.resolution_shares:
            text = "resolutions are given as well; use only one of them."
            found.append((("resolution_shares",), text))
        found += _stride_errors(self)
        _refuse(found)
        narrowest = self.stem.channels
        for number, stage in enumerate(self.stages):
            width, strides = min(stage.channels), {row[number + 1] for row in self.stride_rows}
            for name in stage.operators:
                if problem := _shape_problem(stage, name, [(narrowest, s) for s in strides]):
                    found.append((("stages", number, "operators", name), problem))
            narrowest = width
        _refuse(found)
        return self


def _stride_errors(spec: SpaceSpec) -> list[Error]:
    """Strides are given in rows for the whole space, or with stem and stages."""
    parts: dict[Place, StemSpec | StageSpec] = {("stem",): spec.stem}
    parts |= {("stages", number): stage for number, stage in enumerate(spec.stages)}
    given = {place for place, part in parts.items() if part.stride is not None}
    if spec.strides is None:
        text = "required, but not given."
        return [((*place, "stride"), text) for place in parts if place not in given]
    text = "the space's strides give it; use only one of them."
    found: list[Error] = [((*place, "stride"), text) for place in parts if place in given]
    wrong = [n for n, row in enumerate(spec.strides) if len(row) != len(parts)]
    text = f"must have {len(parts)} strides: the stem's and one for each stage."
    return found + [(("strides", number), text) for number in wrong]


def _shape_problem(stage: StageSpec, name: str, first: list[tuple[int, int]]) -> str | None:
    """Why an operator does not support the narrowest layers of a stage.

    `first` are the possible input widths and strides of its first layer.
    """
    width = min(stage.channels)
    for option in stage.options(name):
        for channels, stride in (*first, (width, 1)):
            try:
                cells(option.block(channels, width, _PROBE_SIZE, stride))
            except OperatorError as error:
                return str(error)
    return None
