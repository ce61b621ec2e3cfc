"""BN indicator: data-free scores of architectures from a supernet's batch norms.

BN-NAS, section 3.1: the scale gamma of the last batch norm of an operator indicates how much the
network uses that operator. `bn_indicator` scores one architecture, `bn_table` millions at once
by table look-ups.
Axes: N architectures, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from models.nets.shared_cells import SharedConvNorm, SlicedNorm
from models.nets.supernet import Supernet, candidate_name
from models.space.architecture import Architecture, Block
from models.space.block_tables import BlockTable, ChoicesNG, block_table
from models.space.costs import CostTable, depth
from models.space.operators import cells
from models.space.operators.base import Conv
from models.space.space import SearchSpace


@torch.no_grad()
def block_gamma(supernet: Supernet, position: int, block: Block) -> float:
    """Mean absolute gamma over the channels of a block's last batch norm in the supernet.

    A block without a batch norm (a shape-preserving identity) scores 0, like a skip.

    Raises:
        UserError: the supernet has no such block at this position.
    """
    shared_block = supernet.shared_block(position, block)
    normed = [(name, cell) for name, cell in cells(block).items() if isinstance(cell, Conv)]
    if not normed:
        return 0.0
    last, cell = normed[-1]
    shared = cast(SharedConvNorm, shared_block.cells[last])
    norm = cast(SlicedNorm, shared.norms[candidate_name(block)])
    return float(norm.weight[: cell.out_channels].abs().mean())


def bn_indicator(supernet: Supernet, architecture: Architecture, per_layer: bool = False) -> float:
    """BN indicator of an architecture: sum over its searched layers, without stem and head.

    The plain sum favours deep networks; `per_layer` divides it by `costs.depth`.

    Args:
        supernet: at least briefly trained.
        architecture: of the supernet's space.
        per_layer: divide by the number of layers that compute something.

    Raises:
        UserError: the architecture is not of this supernet's space.
    """
    total = sum(
        block_gamma(supernet, position, block)
        for position, block in enumerate(architecture.layers, architecture.first_layer)
        if block is not None
    )
    return total / (max(1, depth(architecture)) if per_layer else 1)


@dataclass(frozen=True)
class BnTable:
    """Gammas of all blocks of a space, from its supernet.

    Attributes:
        gammas: `block_gamma` of every block of a searched layer.
        depths: `depth` of the space's architectures.
    """

    gammas: BlockTable
    depths: CostTable

    def scores(self, choices_NG: ChoicesNG, per_layer: bool = False) -> npt.NDArray[np.float64]:
        """`bn_indicator` of many architectures, (N,), bit for bit.

        Raises:
            SpaceError: `choices_NG` is not of this table's space.
        """
        total_N: npt.NDArray[np.float64] = self.gammas.join(choices_NG).astype(np.float64)
        if per_layer:
            total_N /= np.maximum(1, self.depths(choices_NG))
        return total_N


def bn_table(supernet: Supernet, space: SearchSpace) -> BnTable:
    """Compute the gamma table of a space.

    Args:
        supernet: of this space; not modified.
        space: the search space.

    Raises:
        UserError: the supernet is of another space.
    """
    last = len(space.possible()) - 1  # the head
    first = last - len(space.layers)

    def gamma(position: int, block: Block) -> float:
        return block_gamma(supernet, position, block) if first <= position < last else 0.0

    return BnTable(block_table(space, gamma), depth.table(space))
