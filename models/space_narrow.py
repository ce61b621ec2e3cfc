"""Narrowing a space to what a device can make use of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product

from models.architecture import Setting
from models.operators import OPERATORS, canonical
from models.operators import quantization_friendly as suits_int8
from models.space_groups import Option
from models.space_spec import OperatorSpec, SpaceError, SpaceSpec, StageSpec

_CHANNELS, _SIZE = 16, 8  # of the block that is asked about; the answer depends on neither


def quantization_friendly(spec: SpaceSpec, allow: Collection[str] = ()) -> SpaceSpec:
    """The space without what loses accuracy or speed in int8.

    The operators' table says what that is. Values are taken out of the lists of choices, and
    operators that keep none go whole; in the stem and the head, whose settings are fixed, a
    setting goes back to its default. Every network of the result is one of the space.

    Args:
        spec: the space.
        allow: what stays all the same, because the device's owner says so: operators
            (`split_attention_mbconv`), settings (`squeeze_excite`) or values (`hard_swish`).

    Raises:
        SpaceError: a stage would keep no operator, or the stem or head cannot be made friendly.
    """
    ends = {
        part: _fixed(spec.name, part, end.operator, end.settings, allow)
        for part, end in (("stem", spec.stem), ("head", spec.head))
    }
    return spec.model_copy(
        update={
            "stem": spec.stem.model_copy(update={"settings": ends["stem"]}),
            "head": spec.head.model_copy(update={"settings": ends["head"]}),
            "stages": [
                _stage(spec.name, number, stage, allow) for number, stage in enumerate(spec.stages)
            ],
        }
    )


def _stage(space: str, number: int, stage: StageSpec, allow: Collection[str]) -> StageSpec:
    kept = {}
    for name, given in stage.operators.items():
        settings = _friendly(given.operator or name, given.settings, allow)
        if settings is not None:
            kept[name] = OperatorSpec.model_validate({**given.model_dump(), **settings})
    if not kept:
        raise SpaceError(
            f"space '{space}', stages.{number}.operators: nothing of "
            f"{', '.join(stage.operators)} suits int8. Add an operator that does, or allow some "
            "of what is left out."
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


def _fixed(
    space: str, part: str, operator: str, settings: Mapping[str, Setting], allow: Collection[str]
) -> dict[str, Setting]:
    defaults = OPERATORS[operator].defaults
    kept = dict(settings)
    if not _suits(operator, kept, allow):
        kept = {
            name: value
            for name, value in settings.items()
            if name not in defaults or {name, str(value)} & {*allow}
        }
    if not _suits(operator, kept, allow):
        raise SpaceError(f"space '{space}', {part}: {operator} does not suit int8.")
    return kept


def _suits(operator: str, settings: Mapping[str, Setting], allow: Collection[str]) -> bool:
    if operator in allow:
        return True
    defaults = OPERATORS[operator].defaults
    # What the owner allows is not asked about: it stands at its default in the question.
    asked = {
        name: value
        for name, value in settings.items()
        if name not in defaults or not {name, str(value)} & {*allow}
    }
    option = Option(operator, canonical(operator, asked))
    return suits_int8(option.block(_CHANNELS, _CHANNELS, _SIZE, 1))
