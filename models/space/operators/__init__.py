"""The operator table and functions on blocks. A new operator: one file and one line below."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from core.errors import nearest
from models.space.architecture import SKIP, Block, Setting
from models.space.operators.base import Cell, Operator, Pointwise
from models.space.operators.classifier import Classifier
from models.space.operators.conv import PlainConv
from models.space.operators.depthwise_separable import DepthwiseSeparable
from models.space.operators.fused_mbconv import FusedMBConv
from models.space.operators.identity import Identity
from models.space.operators.mbconv import MBConv
from models.space.operators.residual_basic import ResidualBasic
from models.space.operators.residual_bottleneck import ResidualBottleneck
from models.space.operators.resize import Resize
from models.space.operators.shufflenet_unit import ShuffleNetUnit
from models.space.operators.split_attention_mbconv import SplitAttentionMBConv

OPERATORS: Mapping[str, Operator] = {
    operator.name: operator
    for operator in (
        PlainConv(),
        MBConv(),
        FusedMBConv(),
        SplitAttentionMBConv(),
        DepthwiseSeparable(),
        ShuffleNetUnit(),
        ResidualBasic(),
        ResidualBottleneck(),
        Identity(),
        Resize(),
        Classifier(),
    )
}

_KEYS = {"front": "resolutions", "layer": "stages", "head": "head"}
"""The key of a space's file that has the operators of a place."""


def canonical(operator: str, settings: Mapping[str, Setting]) -> tuple[tuple[str, Setting], ...]:
    """Settings of a Block: sorted by name, without default values."""
    defaults = OPERATORS[operator].defaults
    kept = {n: v for n, v in settings.items() if n not in defaults or v != defaults[n]}
    return tuple(sorted(kept.items()))


def operator_problem(operator: Any, place: str) -> str | None:
    """Why a name is not an operator for a place of the network (`Operator.place`)."""
    known = [name for name, kind in OPERATORS.items() if kind.place == place]
    if operator in known:
        return None
    text = f"{operator!r} is not an operator of a {place}."
    if isinstance(operator, str) and operator in OPERATORS:
        text += f" It is set by the space's key {_KEYS[OPERATORS[operator].place]}."
    return text + nearest(str(operator), known)


def entry_problems(given: Mapping[Any, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Keys and errors of a stage's `operators`."""
    for name, content in given.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name, re.ASCII):
            yield (name,), "a name must be a string of letters, digits, - and _."
        elif name == SKIP:
            yield (name,), "not an operator: set skip: true or min_layers."
        elif not isinstance(content, dict):
            yield (name,), f"must be a mapping of settings, not {content!r}."
        else:
            settings = dict(content)
            operator = settings.pop("operator", None) or name
            if problem := operator_problem(operator, "layer"):
                yield (name, "operator") if "operator" in content else (name,), problem
            else:
                for setting, wrong in setting_problems(operator, settings):
                    yield (name, setting), wrong


def setting_problems(operator: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and errors of an operator's settings, each a list of choices."""
    known, defaults = OPERATORS[operator].settings, OPERATORS[operator].defaults
    for name, options in given.items():
        if name not in known:
            yield name, f"unknown setting of {operator}.{nearest(str(name), known)}"
        elif not isinstance(options, list) or not options:
            yield name, f"needs a list of values, not {options!r}; {allowed(known[name])}."
        elif wrong := [value for value in options if not _is_one_of(value, known[name])]:
            yield name, f"{wrong[0]!r} is not allowed; {allowed(known[name])}."
        elif len(set(options)) < len(options):
            yield name, f"{options}: a value is listed twice."
    for name in known:
        if name not in given and name not in defaults:
            yield name, f"required by {operator}; {allowed(known[name])}."


def allowed(known: Sequence[Setting]) -> str:
    """The allowed values, for the end of a message."""
    if len(known) > 12:
        return f"use {known[0]} to {known[-1]}"
    return f"use one of {', '.join(map(str, known))}"


def _is_one_of(value: Any, known: Sequence[Setting]) -> bool:
    # True == 1.0 == 1 in Python, but their JSON, and so the network's id, differs.
    return value in known and type(value) is type(known[known.index(value)])


@lru_cache(maxsize=65536)
def cells(block: Block) -> dict[str, Cell]:
    """The cells of a block. Callers must not modify the mapping."""
    return OPERATORS[block.operator].cells(block)


def has_gate(block: Block) -> bool:
    """Whether a block has squeeze-excite or split attention."""
    return any(isinstance(cell, Pointwise) for cell in cells(block).values())
