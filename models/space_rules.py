"""Every rule that a search space must keep, with the place and the way out for each mistake.

The rules work on plain values (what a YAML file holds), part by part: a mistake in one part does
not hide the mistakes in the others, so all of them are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import ValidationError

from models.architecture import RESIZE, SKIP, Setting
from models.operators import OPERATORS, canonical, cells
from models.operators.base import OperatorError
from models.space_groups import Option
from models.space_spec import SpaceError, SpaceSpec
from models.space_words import Place, Problem, allowed, explain, unknown

HEAD = "classifier"
_NO_LAYER = {
    RESIZE: "it is written as the space's key `resolutions`",
    HEAD: "it ends a network: it is written as `head`",
}
_PROBE_SIZE = 8  # what an operator can be given depends on channels, not on the size


def problems(content: Any) -> list[Problem]:
    """Everything that is wrong with a space given as plain values; empty if it can be used."""
    found: list[Problem] = []
    try:
        SpaceSpec.model_validate(content)
    except ValidationError as error:
        explained = (explain(detail) for detail in error.errors())
        # A value of the wrong type is one mistake, though pydantic tries several types.
        found = list({(p.place, p.text): p for p in explained}.values())
    rules = _Rules(content, found)
    return [*found, *rules.whole(), *rules.ends(), *rules.stages()]


def check_spec(spec: SpaceSpec) -> None:
    """Refuse a space that breaks a rule.

    Raises:
        SpaceError: all mistakes, one a line, each with its key, its value and what is allowed.
    """
    found = problems(spec.model_dump(exclude_unset=True))
    if found:
        raise SpaceError("\n".join(f"space '{spec.name}', {problem}" for problem in found))


def check_images(spec: SpaceSpec, image_shape: tuple[int, int, int]) -> None:
    """Refuse images that the space is not meant for.

    Args:
        spec: a space that keeps the rules.
        image_shape: (channels, height, width) of the images.

    Raises:
        SpaceError: they are not square, too small or too large, or smaller than a resolution, or
            the stem cannot read their channels.
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
            f"{height} are never enlarged. Raise data.size to {max(above)}, or take "
            f"{', '.join(map(str, above))} out of the space's resolutions."
        )
    stem = Option(spec.stem.operator, canonical(spec.stem.operator, spec.stem.settings))
    try:
        cells(stem.block(channels, spec.stem.channels, height, spec.stem.stride))
    except OperatorError as error:
        raise SpaceError(f"space '{spec.name}', stem: {error} Take another stem.") from error


class _Rules:
    """The rules beyond types, for the parts whose types are right."""

    def __init__(self, content: Any, found: Sequence[Problem]) -> None:
        self._content = content
        self._wrong = [problem.place for problem in found]

    def whole(self) -> Iterator[Problem]:
        """Sizes, the images it is shown for, and resolutions."""
        sizes = self._sound("sizes")
        if sizes and not 1 <= sizes[0] <= sizes[1]:
            yield Problem(("sizes",), f"{sizes} must be the smallest and the largest, from 1 on.")
            sizes = None
        resolutions = self._sound("resolutions") or []
        yield from _distinct(("resolutions",), resolutions)
        known = OPERATORS[RESIZE].settings["to"]
        for number, resolution in enumerate(resolutions):
            place = ("resolutions", number)
            if resolution not in known:
                yield Problem(place, f"{resolution} is not allowed; {allowed(known)}.")
            elif sizes and not sizes[0] <= resolution <= sizes[1]:
                yield Problem(place, f"{resolution} is outside sizes, {sizes[0]} to {sizes[1]}.")
        above = max((r for r in resolutions if not sizes or r <= sizes[1]), default=0)
        size = self._sound("images", "size")
        if size is not None and sizes and not sizes[0] <= size <= sizes[1]:
            yield Problem(("images", "size"), f"{size} is outside sizes, {sizes[0]} to {sizes[1]}.")
        elif size is not None and above > size:
            yield Problem(("images", "size"), f"{size} is below resolution {above}.")

    def ends(self) -> Iterator[Problem]:
        """The stem and the head."""
        for part in ("stem", "head"):
            operator, settings = self._sound(part, "operator"), self._sound(part, "settings")
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
        """Every stage's depth, widths and operators."""
        stages = self._content.get("stages") if isinstance(self._content, Mapping) else None
        widths: list[int] = []
        stem = self._sound("stem", "channels")
        before = None if stem is None else [stem]
        for number in range(len(stages) if isinstance(stages, list) else 0):
            place: Place = ("stages", number)
            yield from self._depth(place)
            widths = self._sound(*place, "channels") or []
            wrong = [width for width in widths if width < 1]
            if wrong:
                yield Problem((*place, "channels"), f"{widths}: {wrong[0]} is below 1.")
            yield from _distinct((*place, "channels"), widths)
            yield from self._operators(place, before, widths if not wrong else [])
            before = widths or None

    def _depth(self, place: Place) -> Iterator[Problem]:
        layers, least = self._sound(*place, "layers"), self._sound(*place, "min_layers")
        if least is None:
            return
        if layers is not None and least > layers:
            yield Problem((*place, "min_layers"), f"{least} is more than the stage's {layers}.")
        if self._sound(*place, "skip"):
            yield Problem((*place, "skip"), "skip means min_layers: 1; give one of the two.")

    def _operators(
        self, place: Place, before: list[int] | None, widths: list[int]
    ) -> Iterator[Problem]:
        stride = self._sound(*place, "stride") or 1
        taken: dict[Option, str] = {}
        for name in self._names(*place, "operators"):
            here = (*place, "operators", name)
            given = self._at(here)
            if self._at((*here, "operator")) is not None and not self._sound(*here, "operator"):
                continue  # not even a text
            operator = self._sound(*here, "operator") or name
            wrong = list(self._operator_problems(place, name, operator))
            yield from wrong
            if wrong or not isinstance(given, dict):
                continue
            named = [key for key in given if isinstance(key, str) and key != "operator"]
            settings = {key: given[key] for key in named if self._sound(*here, key) is not None}
            wrong = list(_setting_problems(here, operator, settings, named))
            yield from wrong
            if wrong or len(settings) < len(named):
                continue
            options = _options(operator, settings)
            if before and widths:
                yield from _shape_problems(here, options, min(before), min(widths), stride)
            yield from _twins(here, options, taken)

    def _operator_problems(self, place: Place, name: str, operator: str) -> Iterator[Problem]:
        here = (*place, "operators", name)
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            yield Problem(here, "an operator's name has letters, digits, - and _ alone.")
        elif name == SKIP:
            yield Problem(here, f"{SKIP} is no operator: give the stage skip: true or min_layers.")
        elif operator not in OPERATORS:
            own = (*here, "operator") if operator != name else here
            yield Problem(own, unknown("operator", operator, _layer_operators("layer")))
        elif operator in _NO_LAYER:
            yield Problem(here, f"{operator} is no layer: {_NO_LAYER[operator]}.")

    def _names(self, *place: str | int) -> list[str]:
        """The keys of a mapping, whatever is wrong below it."""
        value = self._at(place)
        return [key for key in value if isinstance(key, str)] if isinstance(value, dict) else []

    def _has(self, *place: str | int) -> bool:
        return self._at(place) is not None

    def _sound(self, *place: str | int) -> Any:
        """The value at a place, or None where it is missing or something in it is wrong."""
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
    """What is wrong with settings of the right types; `named` are all that the file has."""
    known, defaults = OPERATORS[operator].settings, OPERATORS[operator].defaults
    for name, options in given.items():
        here = (*place, name)
        if name not in known:
            yield Problem(here, unknown(f"setting of {operator}", name, known))
            continue
        shown = f"{list(options)}: " if lists_shown else ""
        if not options:
            yield Problem(here, f"no value to choose from; {allowed(known[name])}.")
        for value in (v for v in options if not _is_one_of(v, known[name])):
            yield Problem(here, f"{shown}{value} is not allowed; {allowed(known[name])}.")
        yield from _distinct(here, options)
    for name in (name for name in known if name not in named and name not in defaults):
        yield Problem((*place, name), f"{operator} needs it; {allowed(known[name])}.")


def _options(operator: str, settings: Mapping[str, Sequence[Setting]]) -> list[Option]:
    points = product(*settings.values())
    return [
        Option(operator, canonical(operator, dict(zip(settings, point, strict=True))))
        for point in points
    ]


def _shape_problems(
    place: Place, options: Sequence[Option], before: int, width: int, stride: int
) -> Iterator[Problem]:
    """What the operator itself says to the narrowest layers that it would be given."""
    for option in options:
        for channels, step in ((before, stride), (width, 1)):
            try:
                cells(option.block(channels, width, _PROBE_SIZE, step))
            except OperatorError as error:
                yield Problem(place, str(error))
                return


def _twins(place: Place, options: Sequence[Option], taken: dict[Option, str]) -> Iterator[Problem]:
    """A block that another name in the layer gives too; `taken` grows by the options."""
    name = str(place[-1])
    for option in options:
        if taken.setdefault(option, name) != name:
            shown = ", ".join(f"{key} {value}" for key, value in option.settings)
            yield Problem(
                place,
                f"{option.operator} with {shown or 'no settings'} is in {taken[option]} too, and "
                "a network must not be counted twice. Take it out of one of them.",
            )
            return


def _layer_operators(part: str) -> list[str]:
    """The operators that may stand as stem, head or layer."""
    return [name for name in OPERATORS if (name == HEAD) == (part == "head") and name != RESIZE]


def _is_one_of(value: Setting, known: Sequence[Setting]) -> bool:
    # Python takes True and 1.0 for 1; as text, and so as a network's id, they differ.
    return value in known and type(value) is type(known[known.index(value)])


def _distinct(place: Place, values: Sequence[Setting]) -> Iterator[Problem]:
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if twice:
        yield Problem(place, f"{list(values)}: {twice[0]} stands there twice.")
