"""Analytical costs of a space as look-up tables, for millions of architectures at once.

Each table equals the function of the same name in `models.space.costs`:
`flops_table(space).sums(choices_NG)`, `activation_table(space).largest(choices_NG)`.
"""

from __future__ import annotations

from models.space import operators
from models.space.block_tables import BlockTable, block_table
from models.space.costs import block_flops, block_parameters
from models.space.operators import cells
from models.space.space import SearchSpace


def flops_table(space: SearchSpace) -> BlockTable:
    """MACs per block; `sums` equals `costs.flops`."""
    return block_table(space, lambda _, block: block_flops(block))


def parameters_table(space: SearchSpace) -> BlockTable:
    """Trainable parameters per block; `sums` equals `costs.parameters`."""
    return block_table(space, lambda _, block: block_parameters(block))


def activation_table(space: SearchSpace) -> BlockTable:
    """Peak activation bytes per block; `largest` equals `costs.peak_activation_bytes`."""
    return block_table(space, lambda _, block: operators.activation_bytes(block))


def depth_table(space: SearchSpace) -> BlockTable:
    """1 for searched layers that compute something; `sums` equals `costs.depth`."""
    first, last = layer_positions(space)
    return block_table(
        space, lambda position, block: int(first <= position < last and bool(cells(block)))
    )


def layer_positions(space: SearchSpace) -> tuple[int, int]:
    """Positions of the first searched layer and of the head (one past the last layer)."""
    head = len(space.possible()) - 1
    return head - len(space.layers), head


__all__ = [
    "activation_table",
    "depth_table",
    "flops_table",
    "layer_positions",
    "parameters_table",
]
