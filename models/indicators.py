"""Scores of architectures that are read from a supernet without a single image.

BN-NAS, section 3.1: the scale gamma of the last batch norm of a layer's chosen operator says how
much the network uses that operator. A score is a sum of table look-ups: `bn_indicator` makes
them for one architecture, `bn_table` for millions at once.
Axes: N architectures, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from models.architecture import Architecture, Block
from models.block_tables import BlockTable, ChoicesNG, block_table
from models.cost_tables import depth_table, layer_positions
from models.costs import depth
from models.operators import cells
from models.operators.base import Conv
from models.shared_cells import SharedConvNorm, SlicedNorm
from models.space import SearchSpace
from models.supernet import Supernet, candidate_name


@torch.no_grad()
def block_gamma(supernet: Supernet, position: int, block: Block) -> float:
    """The mean absolute gamma, over channels, of a block's last batch norm in the supernet.

    A block without a batch norm (an identity that keeps its shape) scores 0, as a skip does.

    Raises:
        ArchitectureError: the supernet holds no such block at this position.
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
    """The BN indicator of an architecture, over its searched layers (not stem and head).

    A skipped layer adds nothing, so the plain sum rewards depth by itself; the depth-normalised
    form divides it by `costs.depth`.

    Args:
        supernet: trained, at least for a while.
        architecture: of the supernet's space.
        per_layer: divide by the number of layers that compute something.

    Raises:
        ArchitectureError: the architecture is not of this supernet's space.
    """
    total = sum(
        block_gamma(supernet, position, block)
        for position, block in enumerate(architecture.layers, architecture.first_layer)
        if block is not None
    )
    return total / (max(1, depth(architecture)) if per_layer else 1)


@dataclass(frozen=True)
class BnTable:
    """The gammas of a whole space, read once from its supernet.

    Attributes:
        gammas: `block_gamma` of every block of a searched layer.
        depths: which of them compute something.
    """

    gammas: BlockTable
    depths: BlockTable

    def scores(self, choices_NG: ChoicesNG, per_layer: bool = False) -> npt.NDArray[np.float64]:
        """`bn_indicator` of many architectures, (N,), to the last bit.

        Raises:
            SpaceError: `choices_NG` is not of this table's space.
        """
        total_N: npt.NDArray[np.float64] = self.gammas.sums(choices_NG).astype(np.float64)
        if per_layer:
            total_N /= np.maximum(1, self.depths.sums(choices_NG))
        return total_N


def bn_table(supernet: Supernet, space: SearchSpace) -> BnTable:
    """Read the BN indicator of every block of a space.

    Args:
        supernet: of this space, trained for a while; it is only read.
        space: the architectures to score.

    Raises:
        ArchitectureError: the supernet is of another space.
    """
    first, last = layer_positions(space)

    def gamma(position: int, block: Block) -> float:
        return block_gamma(supernet, position, block) if first <= position < last else 0.0

    return BnTable(block_table(space, gamma), depth_table(space))
