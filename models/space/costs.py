"""Analytical costs of networks: exact sums or maxima of a cost of their blocks.

A `Cost` is written once, as a function of a block. It is evaluated for one architecture
(`flops(architecture)`), or as a look-up table for millions of a space (`flops.table(space)`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from models.space.architecture import Architecture, Block
from models.space.block_tables import ChoicesNG, Values, block_table
from models.space.operators import OPERATORS, cells
from models.space.operators.memory import activation_bytes
from models.space.space import SearchSpace

CostTable = Callable[[ChoicesNG], Values]
"""Costs of many architectures of a space: choices (N, G) to (N,)."""


@dataclass(frozen=True)
class Cost:
    """A cost that is additive over blocks, or the peak of them; integers stay integers."""

    of_block: Callable[[Block], Any]
    peak: bool = False
    """Whether blocks are joined by the maximum instead of the sum."""
    scale: float = 1
    """Factor on the joined cost, such as bytes per parameter."""
    constant: float = 0
    """Cost of a network without blocks."""
    exact: bool = True
    """Whether the architecture with the smallest sum of block costs has the smallest cost."""

    def __call__(self, architecture: Architecture) -> Any:
        """The cost of one architecture."""
        costs = map(self.of_block, architecture.present)
        return (max(costs) if self.peak else sum(costs)) * self.scale + self.constant

    def block(self, block: Block) -> float:
        """A block's share of a network's cost, in the cost's unit."""
        share: float = self.of_block(block) * self.scale
        return share

    def table(self, space: SearchSpace) -> CostTable:
        """The cost of many architectures of a space at once, equal to that of each one."""
        table = block_table(space, lambda _, block: self.of_block(block))
        by = np.maximum if self.peak else np.add
        return lambda choices_NG: table.join(choices_NG, by) * self.scale + self.constant


@lru_cache(maxsize=65536)
def block_flops(block: Block) -> int:
    """Multiply-accumulate operations (MACs) of one block for one image."""
    return sum(cell.macs for cell in cells(block).values())


@lru_cache(maxsize=65536)
def block_parameters(block: Block) -> int:
    """Trainable parameters of one block."""
    return sum(cell.parameters for cell in cells(block).values())


@lru_cache(maxsize=65536)
def block_activation_bytes(block: Block) -> int:
    """Peak activation bytes of one block; see `models.space.operators.memory`."""
    return activation_bytes(OPERATORS[block.operator], block, cells(block))


flops = Cost(block_flops)
"""MACs for one image; the papers call them FLOPs."""
parameters = Cost(block_parameters)
"""Trainable parameters of the network."""
peak_activation_bytes = Cost(block_activation_bytes, peak=True)
"""Peak bytes of simultaneously live activations: float32, one image, inference.

Blocks run in sequence and pass on a single tensor, so this is the maximum of the blocks' peaks,
each including its input and output. See `operators.memory` for the exact rule.
"""
depth = Cost(lambda block: int(bool(cells(block))), constant=-2)
"""Number of searched layers that compute something: not skipped, not a plain identity; the stem
and the head, which always compute, are not searched."""
