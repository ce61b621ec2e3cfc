"""The operator table and functions on blocks. A new operator: one file and one line below."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from models.space.architecture import Block, Setting
from models.space.operators import memory
from models.space.operators.base import Cell, Operator, OperatorError, Pointwise
from models.space.operators.classifier import Classifier
from models.space.operators.conv import PlainConv
from models.space.operators.depthwise_separable import DepthwiseSeparable
from models.space.operators.fused_mbconv import FusedMBConv
from models.space.operators.identity import Identity
from models.space.operators.mbconv import MBConv
from models.space.operators.parts import UNFRIENDLY_ACTIVATIONS
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


def setting(block: Block, name: str) -> Setting:
    """A block's value of a setting, stored or default."""
    return OPERATORS[block.operator].setting(block, name)


def canonical(operator: str, settings: Mapping[str, Setting]) -> tuple[tuple[str, Setting], ...]:
    """Canonical settings of a Block: sorted by name, without default values.

    Raises:
        OperatorError: the operator or a setting is unknown, a value is invalid, or a required
            setting is missing.
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
    """The cells of a block. Callers must not modify the mapping."""
    return OPERATORS[block.operator].cells(block)


def macs(block: Block) -> int:
    """MACs for one image; the papers call them FLOPs."""
    return sum(cell.macs for cell in cells(block).values())


def parameters(block: Block) -> int:
    """Trainable parameters of the block."""
    return sum(cell.parameters for cell in cells(block).values())


@lru_cache(maxsize=65536)
def activation_bytes(block: Block) -> int:
    """Peak activation bytes of a block; see `models.space.operators.memory`."""
    return memory.activation_bytes(OPERATORS[block.operator], block, cells(block))


def unsupported_reason(block: Block, backend: str) -> str:
    """Why a backend does not support a block, as its operator declares; empty if it does."""
    return OPERATORS[block.operator].unsupported_reason(block, backend)


def quantization_friendly(block: Block) -> bool:
    """Whether a block keeps its accuracy and speed in int8.

    FOX-NAS (section on quantisation) excludes hard-swish and squeeze-excite for int8 devices; the
    same is applied to SiLU and split attention.
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
    "unsupported_reason",
]
