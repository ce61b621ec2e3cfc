"""Narrowing a space to what a device can make use of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from itertools import product

from models.architecture import Setting
from models.operators import OPERATORS, canonical
from models.operators import quantization_friendly as suits_int8
from models.operators.parts import UNFRIENDLY_ACTIVATIONS
from models.space_groups import Option
from models.space_spec import OperatorSpec, SpaceError, SpaceSpec, StageSpec

_CHANNELS, _SIZE = 16, 8  # of the block that is asked about; the answer depends on neither


def quantization_friendly(spec: SpaceSpec, allow: Collection[str] = ()) -> SpaceSpec:
    """The space without what loses accuracy or speed in int8.

    The operators' table says what that is. Values are taken out of the lists of choices, and
    operators that keep none go whole. The stem and the head stay as they are: every network of
    the space has them, and a supernet of the space holds no others (`unfriendly_ends` names
    them). So every network of the result is one of the space, and a slice of its supernet.

    Args:
        spec: the space.
        allow: what stays all the same, because the device's owner says so; see `allowable`.

    Raises:
        SpaceError: a stage would keep no operator.
    """
    stages = [_stage(spec.name, number, stage, allow) for number, stage in enumerate(spec.stages)]
    return spec.model_copy(update={"stages": stages})


@cache
def allowable() -> tuple[str, ...]:
    """The names by which int8's unfriendly things may be allowed, from the operators' table.

    An operator (`split_attention_mbconv`) that is so whatever its settings, a setting that is a
    number (`squeeze_excite`), or a value that is a word (`hard_swish`).
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
    """Which of `allowable` the searched layers of a space make use of."""
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
    """What does not suit int8 in the stem and the head, which stay as they are."""
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


def left_out(spec: SpaceSpec, narrowed: SpaceSpec) -> tuple[str, ...]:
    """What a narrowed space lacks, by the keys of the space's file."""
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
            f"space '{space}', stages.{number}.operators: nothing of "
            f"{', '.join(stage.operators)} suits int8. Add an operator that does."
        )
    return stage.model_copy(update={"operators": kept})


def _friendly(
    operator: str, settings: Mapping[str, list[Setting]], allow: Collection[str]
) -> dict[str, list[Setting]] | None:
    """The lists of choices without unfriendly values; None where a list would keep none.

    A value goes when it is unfriendly with all the others, so what stays must be friendly in
    every combination; an operator for which that is not so is refused.
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
            f"{operator}: what suits int8 depends on several settings at once. List those "
            "combinations in the space as operators with names of their own."
        )
    return kept


def _suits(operator: str, settings: Mapping[str, Setting], allow: Collection[str]) -> bool:
    defaults = OPERATORS[operator].defaults
    # What the owner allows is not asked about: it stands at its default in the question.
    asked = {
        name: value
        for name, value in settings.items()
        if name not in defaults or not {name, str(value)} & {*allow}
    }
    if operator in allow:  # the operator itself, and not whatever is set in it
        return not UNFRIENDLY_ACTIVATIONS.intersection(map(str, asked.values()))
    option = Option(operator, canonical(operator, asked))
    return suits_int8(option.block(_CHANNELS, _CHANNELS, _SIZE, 1))
