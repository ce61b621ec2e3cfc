"""Restricting a search space to what keeps its accuracy and speed in int8.

FOX-NAS (section on quantisation) excludes hard-swish and squeeze-excite for int8 devices; the same
is applied to SiLU and split attention. What is unsuited is named by the operator if it always has a
gate (`split_attention_mbconv`), by the setting (`squeeze_excite`) or by the value (`hard_swish`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from models.space.architecture import Option, Setting
from models.space.operators import OPERATORS, canonical, has_gate
from models.space.operators.parts import UNFRIENDLY_ACTIVATIONS
from models.space.spec import OperatorSpec, SpaceError, SpaceSpec, StageSpec

_CHANNELS, _SIZE = 16, 8  # of the probe block; the result depends on neither


class Unsuited(NamedTuple):
    """A key and value of an operator that is unsuited to int8, and the name that allows it."""

    name: str
    key: str
    value: Setting


def quantization_friendly(spec: SpaceSpec, allow: Collection[str] = ()) -> SpaceSpec:
    """Remove operators and setting values that are unsuited, except those named in `allow`.

    Operators without remaining values are removed. Stem and head are kept, so every network of the
    result is in the space and a slice of its supernet; see `unfriendly_ends`.

    Raises:
        SpaceError: a stage would keep no operator.
    """
    stages = [_stage(spec.name, number, stage, allow) for number, stage in enumerate(spec.stages)]
    return spec.model_copy(update={"stages": stages})


@cache
def allowable() -> tuple[str, ...]:
    """All names of what is unsuited in layers, valid for `allow`."""
    layers = {n: kind.settings for n, kind in OPERATORS.items() if kind.place == "layer"}
    return _names(one for name, settings in layers.items() for one in _unsuited(name, settings))


def unfriendly_names(spec: SpaceSpec) -> tuple[str, ...]:
    """The names of what is unsuited in the searched layers of a space."""
    return _names(
        one
        for stage in spec.stages
        for name, given in stage.operators.items()
        for one in _unsuited(given.operator or name, given.settings)
    )


def unfriendly_ends(spec: SpaceSpec, allow: Collection[str] = ()) -> tuple[str, ...]:
    """What is unsuited in stem and head, which are not changed."""
    return tuple(
        f"{part}: {found.key} {found.value}"
        for part, end in (("stem", spec.stem), ("head", spec.head))
        for found in _unsuited(end.operator, {k: (v,) for k, v in end.settings.items()})
        if found.name not in allow
    )


def removed_values(spec: SpaceSpec, narrowed: SpaceSpec) -> tuple[str, ...]:
    """What was removed from a space, by keys of the space's file."""
    found = []
    for number, (before, after) in enumerate(zip(spec.stages, narrowed.stages, strict=True)):
        for name, given in before.operators.items():
            place = f"stages.{number}.operators.{name}"
            if name not in after.operators:
                found.append(place)
                continue
            kept = after.operators[name].settings
            found += [
                f"{place}.{setting}: {value}"
                for setting, values in given.settings.items()
                for value in values
                if value not in kept[setting]
            ]
    return tuple(found)


def _names(found: Iterator[Unsuited]) -> tuple[str, ...]:
    return tuple(sorted({one.name for one in found}))


def _stage(space: str, number: int, stage: StageSpec, allow: Collection[str]) -> StageSpec:
    kept = {}
    for name, given in stage.operators.items():
        out = {
            (found.key, found.value)
            for found in _unsuited(given.operator or name, given.settings)
            if found.name not in allow
        }
        settings = {
            key: [value for value in values if (key, value) not in out]
            for key, values in given.settings.items()
        }
        if all(settings.values()) and ("operator", given.operator or name) not in out:
            kept[name] = OperatorSpec.model_validate({**given.model_dump(), **settings})
    if not kept:
        raise SpaceError(
            f"space '{space}', stages.{number}.operators: none of "
            f"{', '.join(stage.operators)} is suitable for int8. Add an operator that is."
        )
    return stage.model_copy(update={"operators": kept})


def _unsuited(operator: str, settings: Mapping[str, Collection[Setting]]) -> Iterator[Unsuited]:
    """What is unsuited of an operator with some choices of its settings."""
    kind = OPERATORS[operator]
    least = {k: values[0] for k, values in kind.settings.items() if k not in kind.defaults}

    def gated(**changed: Setting) -> bool:
        option = Option(operator, canonical(operator, least | changed))
        return has_gate(option.block(_CHANNELS, _CHANNELS, _SIZE, 1))

    if always := gated():
        yield Unsuited(operator, "operator", operator)
    for key, values in settings.items():
        for value in values:
            if value in UNFRIENDLY_ACTIVATIONS:
                yield Unsuited(str(value), key, value)
            elif not always and gated(**{key: value}):
                yield Unsuited(key, key, value)
