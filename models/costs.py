"""What a network costs by its shape alone: sums over its blocks, exact and cheap."""

from __future__ import annotations

from functools import lru_cache

from models import operators
from models.architecture import Architecture, Block


@lru_cache(maxsize=65536)
def block_flops(block: Block) -> int:
    """Multiply-accumulate operations of one block for one image."""
    return operators.macs(block)


@lru_cache(maxsize=65536)
def block_parameters(block: Block) -> int:
    """Trainable numbers of one block."""
    return operators.parameters(block)


def flops(architecture: Architecture) -> int:
    """Multiply-accumulate operations for one image; what the papers call FLOPs."""
    return sum(block_flops(block) for block in architecture.present)


def parameters(architecture: Architecture) -> int:
    """Trainable numbers of the plain network."""
    return sum(block_parameters(block) for block in architecture.present)


def depth(architecture: Architecture) -> int:
    """Searched layers that are present: all blocks but the stem and the head."""
    return len(architecture.present) - 2
