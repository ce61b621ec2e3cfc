"""What the networks of a space cost by their shape, as tables that price millions at once.

Each gives exactly what its namesake in `models.costs` does:
`flops_table(space).sums(choices_NG)`, `activation_table(space).largest(choices_NG)`.
"""

from __future__ import annotations

from models import operators
from models.block_tables import BlockTable, block_table
from models.costs import block_flops, block_parameters
from models.operators import cells
from models.space import SearchSpace


def flops_table(space: SearchSpace) -> BlockTable:
    """Multiply-accumulate operations for one image; its sums are `costs.flops`."""
    return block_table(space, lambda _, block: block_flops(block))


def parameters_table(space: SearchSpace) -> BlockTable:
    """Trainable numbers; its sums are `costs.parameters`."""
    return block_table(space, lambda _, block: block_parameters(block))


def activation_table(space: SearchSpace) -> BlockTable:
    """Live bytes of each block; its largest are `costs.peak_activation_bytes`."""
    return block_table(space, lambda _, block: operators.activation_bytes(block))


def depth_table(space: SearchSpace) -> BlockTable:
    """Which searched layers compute something; its sums are `costs.depth`."""
    first, last = layer_positions(space)
    return block_table(
        space, lambda position, block: int(first <= position < last and bool(cells(block)))
    )


def layer_positions(space: SearchSpace) -> tuple[int, int]:
    """The position of the first searched layer, and the one after the last: the head's."""
    head = len(space.possible()) - 1
    return head - len(space.layers), head


__all__ = [
    "activation_table",
    "depth_table",
    "flops_table",
    "layer_positions",
    "parameters_table",
]
