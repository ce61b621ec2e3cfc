"""Error messages of search spaces: place, rule, closest valid name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from core.errors import closest
from models.space.architecture import Setting
from models.space.spec import HeadSpec, ImagesSpec, SpaceSpec, StageSpec, StemSpec

Place = tuple[str | int, ...]
"""Path of keys and list indices to a value in the file."""


@dataclass(frozen=True)
class Problem:
    """One error: its place and description."""

    place: Place
    text: str

    @property
    def key(self) -> str:
        """The place as a dotted path."""
        return ".".join(map(str, self.place))

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.place else self.text


def allowed(known: Sequence[Setting]) -> str:
    """The allowed values, for the end of a message."""
    if len(known) > 12:
        return f"use {known[0]} to {known[-1]}"
    return f"use one of {', '.join(map(str, known))}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for an unknown name, with the closest and all known names."""
    names = list(known)
    return f"no {kind} '{name}'.{closest(name, names)} Known: {', '.join(names) or 'none'}."


def explain(detail: Mapping[str, Any]) -> Problem:
    """Convert a pydantic error to a `Problem`."""
    kind, place, value = detail["type"], tuple(detail["loc"]), detail["input"]
    if place and place[-1] == "[key]":
        return Problem(place[:-1], f"a name must be a string, not {_short(value)}.")
    if place and place[-1] in ("int", "float", "str"):  # alternatives of `Setting`
        return Problem(place[:-1], f"must be a number or a string, not {_short(value)}.")
    if kind == "missing":
        return Problem(place, "required, but not given.")
    if kind == "extra_forbidden":
        known = _model_at(place[:-1]).model_fields
        return Problem(place, unknown("key", str(place[-1]), known))
    context = detail.get("ctx", {})
    texts = {
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "int_type": "must be a whole number",
        "string_type": "must be a string",
        "bool_type": "must be true or false",
        "list_type": "must be a list",
        "tuple_type": "must be a list of two whole numbers",
        "dict_type": "must be a mapping",
        "model_type": "must be a mapping",
        "literal_error": f"must be {context.get('expected')}",
        "too_short": "must not be empty",
        "too_long": "has too many values",
        "string_too_short": "must not be empty",
    }
    text = texts.get(kind) or str(detail["msg"]).lower()
    return Problem(place, f"{text}, not {_short(value)}.")


def _model_at(place: Place) -> type[BaseModel]:
    parts: dict[str | int, type[BaseModel]] = {
        "stem": StemSpec, "stages": StageSpec, "head": HeadSpec, "images": ImagesSpec,
    }  # fmt: skip
    return parts[place[0]] if place else SpaceSpec


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
