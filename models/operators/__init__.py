"""The table of operators. A new one is one file here and one line below."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from models.architecture import Block
from models.operators.base import Cell, Operator
from models.operators.classifier import Classifier
from models.operators.conv import PlainConv
from models.operators.mbconv import MBConv

OPERATORS: Mapping[str, Operator] = {
    operator.name: operator
    for operator in (
        PlainConv(),
        MBConv(),
        Classifier(),
    )
}


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
