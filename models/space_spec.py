"""A search space as its YAML file gives it, and every rule the file must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.architecture import Setting
from models.operators import OPERATORS


class SpaceError(ValueError):
    """A space's YAML that cannot be used, or an architecture that is not in the space."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StemSpec(_Strict):
    """The fixed first block."""

    operator: str
    channels: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)
    settings: dict[str, Setting] = {}


class StageSpec(_Strict):
    """A run of layers of equal width; the first one changes size and channels."""

    layers: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)
    channels: list[int] = Field(min_length=1)
    skip: bool = False
    operators: dict[str, dict[str, list[Setting]]] = Field(min_length=1)


class HeadSpec(_Strict):
    """The fixed last block."""

    operator: str
    settings: dict[str, Setting] = {}


class SpaceSpec(_Strict):
    """A space as its YAML file gives it."""

    name: str
    sizes: tuple[int, int]
    stem: StemSpec
    stages: list[StageSpec] = Field(min_length=1)
    head: HeadSpec


def read_spec(path: Path) -> SpaceSpec:
    """Read a space's YAML.

    Raises:
        SpaceError: the file is missing, is not YAML, or has a wrong key or value.
    """
    if not path.is_file():
        raise SpaceError(f"{path}: no such search space. Presets are in models/spaces/.")
    try:
        content: Any = YAML(typ="safe", pure=True).load(path)
        # JSON mode: YAML has lists where the spec wants a pair.
        return SpaceSpec.model_validate(content, strict=False)
    except YAMLError as error:
        raise SpaceError(f"{path} is not valid YAML:\n{error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SpaceError(f"{path} is not a search space:\n" + "\n".join(lines)) from error


def check_spec(spec: SpaceSpec, image_shape: tuple[int, int, int]) -> None:
    """Check what needs the operator table and the images.

    Raises:
        SpaceError: the message names the key, the value and what is allowed.
    """
    _, height, width = image_shape
    smallest, largest = spec.sizes
    if height != width or not smallest <= height <= largest:
        raise SpaceError(
            f"space '{spec.name}' is for square images of {smallest} to {largest} pixels, "
            f"not {height}x{width}. Change data.size or choose another space."
        )
    _check_operator("stem", spec.stem.operator, {k: [v] for k, v in spec.stem.settings.items()})
    _check_operator("head", spec.head.operator, {k: [v] for k, v in spec.head.settings.items()})
    for number, stage in enumerate(spec.stages):
        if len(set(stage.channels)) != len(stage.channels) or min(stage.channels) < 1:
            raise SpaceError(f"stages.{number}.channels: positive and each once: {stage.channels}")
        for operator, settings in stage.operators.items():
            _check_operator(f"stages.{number}", operator, settings)


def _check_operator(where: str, operator: str, settings: dict[str, list[Setting]]) -> None:
    if operator not in OPERATORS:
        raise SpaceError(f"{where}: no operator '{operator}'. Known: {', '.join(OPERATORS)}.")
    known = OPERATORS[operator].settings
    if set(settings) != set(known):
        raise SpaceError(
            f"{where}.{operator} needs exactly the settings {', '.join(known)}; "
            f"given: {', '.join(settings) or 'none'}."
        )
    for name, options in settings.items():
        wrong = [option for option in options if option not in known[name]]
        if wrong or not options or len(set(options)) != len(options):
            allowed = known[name]
            shown = f"{allowed[0]} to {allowed[-1]}" if len(allowed) > 12 else f"{list(allowed)}"
            raise SpaceError(f"{where}.{operator}.{name}: {options} must be distinct, of {shown}.")
