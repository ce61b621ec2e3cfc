"""Validation rules of search spaces; every error has its place and a fix.

Rules are checked on plain values (the content of a YAML file), part by part, so that all errors are
reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import ValidationError

from models.space.architecture import RESIZE, SKIP, Setting
from models.space.groups import Option
from models.space.messages import Place, Problem, allowed, explain, unknown
from models.space.operators import OPERATORS, canonical, cells
from models.space.operators.base import OperatorError
from models.space.spec import SpaceError, SpaceSpec

HEAD = "classifier"
_NO_LAYER = {
    RESIZE: "use the key `resolutions` of the space",
    HEAD: "use the key `head` of the space",
}
_PROBE_SIZE = 8  # operators restrict channels, not sizes


def problems(content: Any) -> list[Problem]:
    """All errors of a space given as plain values; empty if it is valid."""
    found: list[Problem] = []
    try:
        SpaceSpec.model_validate(content)
    except ValidationError as error:
        explained = (explain(detail) for detail in error.errors())
        # Pydantic reports a wrong type once per alternative: keep one.
        found = list({(p.place, p.text): p for p in explained}.values())
    rules = _Rules(content, found)
    return [*found, *rules.whole(), *rules.ends(), *rules.stages()]


def check_spec(spec: SpaceSpec) -> None:
    """Check a space.

    Raises:
        SpaceError: all errors, one per line, each with key, value and allowed values.
    """
    found = problems(spec.model_dump(exclude_unset=True))
    if found:
        raise SpaceError("\n".join(f"space '{spec.name}', {problem}" for problem in found))


def check_images(spec: SpaceSpec, image_shape: tuple[int, int, int]) -> None:
    """Check that a space supports images of a shape.

    Args:
        spec: a valid space.
        image_shape: (channels, height, width) of the images.

    Raises:
        SpaceError: the images are not square, outside the sizes of the space, or smaller than a
            resolution, or the stem does not support their channels.
    """
    channels, height, width = image_shape
    smallest, largest = spec.sizes
    if height != width or not smallest <= height <= largest:
        raise SpaceError(
            f"space '{spec.name}' is for square images of {smallest} to {largest} pixels, "
            f"not {height}x{width}. Change data.size or choose another space."
        )
    above = [resolution for resolution in spec.resolutions or () if resolution > height]
    if above:
        raise SpaceError(
            f"space '{spec.name}' searches resolutions up to {max(above)} pixels, and images of "
            f"{height} are never enlarged. Raise data.size to {max(above)}, or remove "
            f"{', '.join(map(str, above))} from the space's resolutions."
        )
    stem = Option(spec.stem.operator, canonical(spec.stem.operator, spec.stem.settings))
    try:
        cells(stem.block(channels, spec.stem.channels, height, spec.stem.stride))
    except OperatorError as error:
        raise SpaceError(f"space '{spec.name}', stem: {error} Use another stem.") from error


class _Rules:
    """Rules beyond types, checked for parts with valid types."""

    def __init__(self, content: Any, found: Sequence[Problem]) -> None:
        self._content = content
        self._wrong = [problem.place for problem in found]

    def whole(self) -> Iterator[Problem]:
        """Check sizes, images and resolutions."""
        sizes = self._valid("sizes")
        if sizes and not 1 <= sizes[0] <= sizes[1]:
            yield Problem(("sizes",), f"{sizes} must be [smallest, largest], both at least 1.")
            sizes = None
        resolutions = self._valid("resolutions") or []
        yield from _distinct(("resolutions",), resolutions)
        known = OPERATORS[RESIZE].settings["to"]
        for number, resolution in enumerate(resolutions):
            place = ("resolutions", number)
            if resolution not in known:
                yield Problem(place, f"{resolution} is not allowed; {allowed(known)}.")
            elif sizes and not sizes[0] <= resolution <= sizes[1]:
                yield Problem(place, f"{resolution} is outside sizes, {sizes[0]} to {sizes[1]}.")
        above = max((r for r in resolutions if not sizes or r <= sizes[1]), default=0)
        size = self._valid("images", "size")
        if size is not None and sizes and not sizes[0] <= size <= sizes[1]:
            yield Problem(("images", "size"), f"{size} is outside sizes, {sizes[0]} to {sizes[1]}.")
        elif size is not None and above > size:
            yield Problem(("images", "size"), f"{size} is below resolution {above}.")

    def ends(self) -> Iterator[Problem]:
        """Check stem and head."""
        for part in ("stem", "head"):
            operator, settings = self._valid(part, "operator"), self._valid(part, "settings")
            if operator is None:
                continue
            here = (part, "operator")
            if operator not in OPERATORS:
                yield Problem(here, unknown("operator", operator, _layer_operators(part)))
            elif (operator == HEAD) != (part == "head") or operator == RESIZE:
                names = ", ".join(_layer_operators(part))
                yield Problem(here, f"{operator} cannot be the {part}; {names} can.")
            elif settings is not None or not self._has(part, "settings"):
                lists = {name: [value] for name, value in (settings or {}).items()}
                yield from _setting_problems((part, "settings"), operator, lists, [*lists], False)

    def stages(self) -> Iterator[Problem]:
        """Check depth, widths and operators of every stage."""
        stages = self._content.get("stages") if isinstance(self._content, Mapping) else None
        widths: list[int] = []
        stem = self._valid("stem", "channels")
        before = None if stem is None else [stem]
        for number in range(len(stages) if isinstance(stages, list) else 0):
            place: Place = ("stages", number)
            yield from self._depth(place)
            widths = self._valid(*place, "channels") or []
            wrong = [width for width in widths if width < 1]
            if wrong:
                yield Problem((*place, "channels"), f"{widths}: {wrong[0]} is below 1.")
            yield from _distinct((*place, "channels"), widths)
            yield from self._operators(place, before, widths if not wrong else [])
            before = widths or None

    def _depth(self, place: Place) -> Iterator[Problem]:
        layers, least = self._valid(*place, "layers"), self._valid(*place, "min_layers")
        if least is None:
            return
        if layers is not None and least > layers:
            yield Problem((*place, "min_layers"), f"{least} is more than the stage's {layers}.")
        if self._valid(*place, "skip"):
            yield Problem((*place, "skip"), "skip means min_layers: 1; use only one of them.")

    def _operators(
        self, place: Place, before: list[int] | None, widths: list[int]
    ) -> Iterator[Problem]:
        stride = self._valid(*place, "stride") or 1
        taken: dict[Option, str] = {}
        for name in self._names(*place, "operators"):
            here = (*place, "operators", name)
            given = self._at(here)
            if self._at((*here, "operator")) is not None and not self._valid(*here, "operator"):
                continue  # not a string
            operator = self._valid(*here, "operator") or name
            wrong = list(self._operator_problems(place, name, operator))
            yield from wrong
            if wrong or not isinstance(given, dict):
                continue
            named = [key for key in given if isinstance(key, str) and key != "operator"]
            settings = {key: given[key] for key in named if self._valid(*here, key) is not None}
            wrong = list(_setting_problems(here, operator, settings, named))
            yield from wrong
            if wrong or len(settings) < len(named):
                continue
            options = _options(operator, settings)
            if before and widths:
                yield from _shape_problems(here, options, min(before), min(widths), stride)
            yield from _duplicates(here, options, taken)

    def _operator_problems(self, place: Place, name: str, operator: str) -> Iterator[Problem]:
        here = (*place, "operators", name)
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            yield Problem(here, "an operator name may contain only letters, digits, - and _.")
        elif name == SKIP:
            yield Problem(here, f"{SKIP} is not an operator: set skip: true or min_layers.")
        elif operator not in OPERATORS:
            own = (*here, "operator") if operator != name else here
            yield Problem(own, unknown("operator", operator, _layer_operators("layer")))
        elif operator in _NO_LAYER:
            yield Problem(here, f"{operator} cannot be a layer: {_NO_LAYER[operator]}.")

    def _names(self, *place: str | int) -> list[str]:
        """The string keys of a mapping; empty if it is none."""
        value = self._at(place)
        return [key for key in value if isinstance(key, str)] if isinstance(value, dict) else []

    def _has(self, *place: str | int) -> bool:
        return self._at(place) is not None

    def _valid(self, *place: str | int) -> Any:
        """The value at a place; None if it is missing or invalid."""
        if any(wrong[: len(place)] == place for wrong in self._wrong):
            return None
        return self._at(place)

    def _at(self, place: Place) -> Any:
        value = self._content
        for part in place:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def _setting_problems(
    place: Place,
    operator: str,
    given: Mapping[str, Sequence[Setting]],
    named: Sequence[str],
    lists_shown: bool = True,
) -> Iterator[Problem]:
    """Errors of settings with valid types; `named` are all settings in the file."""
    known, defaults = OPERATORS[operator].settings, OPERATORS[operator].defaults
    for name, options in given.items():
        here = (*place, name)
        if name not in known:
            yield Problem(here, unknown(f"setting of {operator}", name, known))
            continue
        shown = f"{list(options)}: " if lists_shown else ""
        if not options:
            yield Problem(here, f"needs at least one value; {allowed(known[name])}.")
        for value in (v for v in options if not _is_one_of(v, known[name])):
            yield Problem(here, f"{shown}{value} is not allowed; {allowed(known[name])}.")
        yield from _distinct(here, options)
    for name in (name for name in known if name not in named and name not in defaults):
        yield Problem((*place, name), f"required by {operator}; {allowed(known[name])}.")


def _options(operator: str, settings: Mapping[str, Sequence[Setting]]) -> list[Option]:
    points = product(*settings.values())
    return [
        Option(operator, canonical(operator, dict(zip(settings, point, strict=True))))
        for point in points
    ]


def _shape_problems(
    place: Place, options: Sequence[Option], before: int, width: int, stride: int
) -> Iterator[Problem]:
    """Errors of the operator for its narrowest layers."""
    for option in options:
        for channels, step in ((before, stride), (width, 1)):
            try:
                cells(option.block(channels, width, _PROBE_SIZE, step))
            except OperatorError as error:
                yield Problem(place, str(error))
                return


def _duplicates(
    place: Place, options: Sequence[Option], taken: dict[Option, str]
) -> Iterator[Problem]:
    """Options that another name of the layer has too; `taken` is extended by the options."""
    name = str(place[-1])
    for option in options:
        if taken.setdefault(option, name) != name:
            shown = ", ".join(f"{key} {value}" for key, value in option.settings)
            yield Problem(
                place,
                f"{option.operator} with {shown or 'no settings'} is also in {taken[option]}, "
                "which would count networks twice. Remove it from one of them.",
            )
            return


def _layer_operators(part: str) -> list[str]:
    """The operators allowed as stem, head or layer."""
    return [name for name in OPERATORS if (name == HEAD) == (part == "head") and name != RESIZE]


def _is_one_of(value: Setting, known: Sequence[Setting]) -> bool:
    # True == 1.0 == 1 in Python, but their JSON, and so the network's id, differs.
    return value in known and type(value) is type(known[known.index(value)])


def _distinct(place: Place, values: Sequence[Setting]) -> Iterator[Problem]:
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if twice:
        yield Problem(place, f"{list(values)}: {twice[0]} is listed twice.")
