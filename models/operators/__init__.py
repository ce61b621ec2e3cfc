"""The table of operators, and what can be asked of a block. A new one: one file, one line below."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from models.architecture import Block, Setting
from models.operators import memory
from models.operators.base import Cell, Operator, OperatorError, Pointwise
from models.operators.classifier import Classifier
from models.operators.conv import PlainConv
from models.operators.depthwise_separable import DepthwiseSeparable
from models.operators.fused_mbconv import FusedMBConv
from models.operators.identity import Identity
from models.operators.mbconv import MBConv
from models.operators.parts import UNFRIENDLY_ACTIVATIONS
from models.operators.residual_basic import ResidualBasic
from models.operators.residual_bottleneck import ResidualBottleneck
from models.operators.resize import Resize
from models.operators.shufflenet_unit import ShuffleNetUnit
from models.operators.split_attention_mbconv import SplitAttentionMBConv

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


def setting(block: Block, name: str) -> Setting:
    """The block's value of a setting of its operator, stored or by default."""
    return OPERATORS[block.operator].setting(block, name)


def canonical(operator: str, settings: Mapping[str, Setting]) -> tuple[tuple[str, Setting], ...]:
    """Settings as a Block stores them: sorted by name, without those at their default.

    Raises:
        OperatorError: there is no such operator or setting, a value is not allowed, or a setting
            without default is missing.
    """
    if operator not in OPERATORS:
        raise OperatorError(f"no operator '{operator}'. Known: {', '.join(OPERATORS)}.")
    known, defaults = OPERATORS[operator].settings, OPERATORS[operator].defaults
    unknown = [name for name in settings if name not in known]
    missing = [name for name in known if name not in settings and name not in defaults]
    if unknown or missing:
        wrong = f"no setting {', '.join(unknown)}" if unknown else f"needs {', '.join(missing)}"
        raise OperatorError(
            f"{operator}: {wrong}. Its settings: {', '.join(known) or 'none'}; those with a "
            f"default: {', '.join(defaults) or 'none'}."
        )
    for name, value in settings.items():
        if value not in known[name] or isinstance(value, bool):
            allowed = ", ".join(map(str, _shown(known[name])))
            raise OperatorError(f"{operator}.{name}: {value!r} is not one of {allowed}.")
    kept = {n: v for n, v in settings.items() if n not in defaults or v != defaults[n]}
    return tuple(sorted(kept.items()))


@lru_cache(maxsize=65536)
def cells(block: Block) -> dict[str, Cell]:
    """The cells of a block, by its operator. Callers must not change the mapping."""
    return OPERATORS[block.operator].cells(block)


def macs(block: Block) -> int:
    """Multiply-accumulate operations for one image; what papers call FLOPs."""
    return sum(cell.macs for cell in cells(block).values())


def parameters(block: Block) -> int:
    """Trainable numbers of the block's plain module."""
    return sum(cell.parameters for cell in cells(block).values())


@lru_cache(maxsize=65536)
@lru_cache(maxsize=65536)
def activation_bytes(block: Block) -> int:
    """Peak bytes of a block's tensors, by the rule of `models.operators.memory`."""
    return memory.activation_bytes(OPERATORS[block.operator], block, cells(block))


def why_unsuited(block: Block, backend: str) -> str:
    """Why a backend cannot build or run a block, as its operator declares; empty if it can."""
    return OPERATORS[block.operator].why_unsuited(block, backend)


def suits(block: Block, backend: str) -> bool:
    """Whether a backend of this name can build and run a block."""
    return not why_unsuited(block, backend)


def quantization_friendly(block: Block) -> bool:
    """Whether a block keeps its accuracy and speed in int8.

    FOX-NAS (section on quantisation) leaves hard-swish and squeeze-excite out for devices that
    run int8; SiLU and split attention are of the same kinds.
    """
    gated = any(isinstance(cell, Pointwise) for cell in cells(block).values())
    return not gated and block.options.get("activation") not in UNFRIENDLY_ACTIVATIONS


def _shown(values: tuple[Setting, ...]) -> tuple[Setting, ...]:
    return values if len(values) <= 12 else (values[0], "...", values[-1])


__all__ = [
    "OPERATORS",
    "OperatorError",
    "activation_bytes",
    "canonical",
    "cells",
    "macs",
    "parameters",
    "quantization_friendly",
    "setting",
    "suits",
    "why_unsuited",
]
