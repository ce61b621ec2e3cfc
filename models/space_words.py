"""What a mistake in a search space is called: its place, its rule, the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from models.architecture import Setting
from models.space_spec import HeadSpec, ImagesSpec, SpaceSpec, StageSpec, StemSpec

Place = tuple[str | int, ...]
"""Keys and list indices from the top of the file to a value."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, and what is wrong with it."""

    place: Place
    text: str

    @property
    def key(self) -> str:
        """The place as one word."""
        return ".".join(map(str, self.place))

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.place else self.text


def allowed(known: Sequence[Setting]) -> str:
    """The values that are right, for the end of a message."""
    if len(known) > 12:
        return f"of {known[0]} to {known[-1]}"
    return f"of {', '.join(map(str, known))}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A name that is wrong, with the nearest right one and all of them."""
    names = list(known)
    match = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{match[0]}'?" if match else ""
    return f"no {kind} '{name}'.{hint} Known: {', '.join(names) or 'none'}."


def explain(detail: Mapping[str, Any]) -> Problem:
    """A pydantic error in this project's words."""
    kind, place, value = detail["type"], tuple(detail["loc"]), detail["input"]
    if place and place[-1] == "[key]":
        return Problem(place[:-1], f"a name must be a text, not {_short(value)}.")
    if place and place[-1] in ("int", "float", "str"):  # the types of a setting, one by one
        return Problem(place[:-1], f"must be a number or a text, not {_short(value)}.")
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
        "string_type": "must be a text",
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
