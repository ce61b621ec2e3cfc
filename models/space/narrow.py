"""Restricting a search space to what is suitable for a device."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from itertools import product

from models.space.architecture import Setting
from models.space.groups import Option
from models.space.operators import OPERATORS, canonical
from models.space.operators import quantization_friendly as suits_int8
from models.space.operators.parts import UNFRIENDLY_ACTIVATIONS
from models.space.spec import OperatorSpec, SpaceError, SpaceSpec, StageSpec

_CHANNELS, _SIZE = 16, 8  # of the probe block; the result depends on neither


def quantization_friendly(spec: SpaceSpec, allow: Collection[str] = ()) -> SpaceSpec:
    """Remove operators and setting values that lose accuracy or speed in int8.

    Suitability is defined by `operators.quantization_friendly`. Values are removed from the lists
    of choices; operators without remaining values are removed. Stem and head are kept, so every
    network of the result is in the space and a slice of its supernet; see `unfriendly_ends`.

    Args:
        spec: the space.
        allow: names to keep regardless; see `allowable`.

    Raises:
        SpaceError: a stage would keep no operator.
    """
    stages = [_stage(spec.name, number, stage, allow) for number, stage in enumerate(spec.stages)]
    return spec.model_copy(update={"stages": stages})


@cache
def allowable() -> tuple[str, ...]:
    """Names of int8-unfriendly operators, settings and values, valid for `allow`.

    An operator that is unfriendly with all settings (`split_attention_mbconv`), a numeric setting
    (`squeeze_excite`), or a string value (`hard_swish`).
    """
    found: set[str] = set()
    for name, operator in OPERATORS.items():
        if operator.place != "layer":
            continue
        needed = {k: v[0] for k, v in operator.settings.items() if k not in operator.defaults}
        if not _suits(name, needed, ()):
            found.add(name)
            continue
        for setting, values in operator.settings.items():
            found |= {
                value if isinstance(value, str) else setting
                for value in values
                if not _suits(name, {**needed, setting: value}, ())
            }
    return tuple(sorted(found))


def unfriendly_names(spec: SpaceSpec) -> tuple[str, ...]:
    """The names of `allowable` that occur in the searched layers of a space."""
    words: set[str] = set()
    for stage in spec.stages:
        for name, given in stage.operators.items():
            operator = given.operator or name
            defaults = OPERATORS[operator].defaults
            words.add(operator)
            for setting, values in given.settings.items():
                words |= {str(value) for value in values}
                if any(value != defaults.get(setting) for value in values):
                    words.add(setting)
    return tuple(name for name in allowable() if name in words)


def unfriendly_ends(spec: SpaceSpec, allow: Collection[str] = ()) -> tuple[str, ...]:
    """Int8-unfriendly operators and settings of stem and head, which are not removed."""
    unfriendly, found = {*allowable()} - {*allow}, []
    for part, end in (("stem", spec.stem), ("head", spec.head)):
        if not _suits(end.operator, end.settings, allow):
            named = {"operator": end.operator, **end.settings}
            found += [
                f"{part}: {name} {value}"
                for name, value in named.items()
                if {name, str(value)} & unfriendly
            ]
    return tuple(found)


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


def _stage(space: str, number: int, stage: StageSpec, allow: Collection[str]) -> StageSpec:
    kept = {}
    for name, given in stage.operators.items():
        settings = _friendly(given.operator or name, given.settings, allow)
        if settings is not None:
            kept[name] = OperatorSpec.model_validate({**given.model_dump(), **settings})
    if not kept:
        raise SpaceError(
            f"space '{space}', stages.{number}.operators: none of "
            f"{', '.join(stage.operators)} is suitable for int8. Add an operator that is."
        )
    return stage.model_copy(update={"operators": kept})


def _friendly(
    operator: str, settings: Mapping[str, list[Setting]], allow: Collection[str]
) -> dict[str, list[Setting]] | None:
    """Lists of choices without unfriendly values; None if no combination is friendly.

    A value is removed if it is unfriendly in all combinations. The remaining values must then be
    friendly in all combinations; otherwise the operator is rejected.
    """
    points = [dict(zip(settings, point, strict=True)) for point in product(*settings.values())]
    friendly = [point for point in points if _suits(operator, point, allow)]
    kept = {
        name: [value for value in values if any(point[name] == value for point in friendly)]
        for name, values in settings.items()
    }
    if not friendly:
        return None
    if len(friendly) != len(list(product(*kept.values()))):
        raise SpaceError(
            f"{operator}: suitability for int8 depends on combinations of settings. List suitable "
            "combinations in the space as operators with separate names."
        )
    return kept


def _suits(operator: str, settings: Mapping[str, Setting], allow: Collection[str]) -> bool:
    defaults = OPERATORS[operator].defaults
    # Allowed settings are checked at their default.
    checked = {
        name: value
        for name, value in settings.items()
        if name not in defaults or not {name, str(value)} & {*allow}
    }
    if operator in allow:  # allows the operator, not its activations
        return not UNFRIENDLY_ACTIVATIONS.intersection(map(str, checked.values()))
    option = Option(operator, canonical(operator, checked))
    return suits_int8(option.block(_CHANNELS, _CHANNELS, _SIZE, 1))
