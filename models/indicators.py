"""Scores of architectures that are read from a supernet without a single image.

BN-NAS, section 3.1: the scale gamma of the last batch norm of a layer's chosen operator says how
much the network uses that operator. A score is a sum of table look-ups.
"""

from __future__ import annotations

from typing import cast

import torch

from models.architecture import Architecture, Block
from models.costs import depth
from models.operators import cells
from models.operators.base import Conv
from models.shared_cells import SharedConvNorm, SlicedNorm
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
