"""Scores of architectures that are read from a supernet without a single image.

BN-NAS, section 3.1: the scale gamma of the last batch norm of a layer's chosen operator says how
much the network uses that operator. A score is a sum of table look-ups.
"""

from __future__ import annotations

from typing import cast

import torch

from models.architecture import Architecture, Block
from models.operators import cells
from models.operators.base import Conv
from models.supernet import SharedConvNorm, SlicedNorm, Supernet, candidate_name


@torch.no_grad()
def block_gamma(supernet: Supernet, position: int, block: Block) -> float:
    """The mean absolute gamma, over channels, of a block's last batch norm in the supernet.

    Raises:
        ArchitectureError: the supernet holds no such block at this position.
    """
    last, cell = [(n, c) for n, c in cells(block).items() if isinstance(c, Conv)][-1]
    shared = cast(SharedConvNorm, supernet.shared_block(position, block).cells[last])
    norm = cast(SlicedNorm, shared.norms[candidate_name(block)])
    return float(norm.weight[: cell.out_channels].abs().mean())


def bn_indicator(supernet: Supernet, architecture: Architecture, per_layer: bool = False) -> float:
    """The BN indicator of an architecture, over its searched layers (not stem and head).

    A skipped layer adds nothing, so the plain sum rewards depth by itself; the depth-normalised
    form is the mean over the layers that are present.

    Args:
        supernet: trained, at least for a while.
        architecture: of the supernet's space.
        per_layer: divide by the number of layers that are present.

    Raises:
        ArchitectureError: the architecture is not of this supernet's space.
    """
    last = len(architecture.blocks) - 1
    scores = [
        block_gamma(supernet, position, block)
        for position, block in enumerate(architecture.blocks)
        if block is not None and 0 < position < last
    ]
    return sum(scores) / (max(1, len(scores)) if per_layer else 1)
