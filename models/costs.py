"""What a network costs by its shape alone: sums over its blocks or their maximum, exact."""

from __future__ import annotations

from functools import lru_cache

from models import operators
from models.architecture import Architecture, Block
from models.operators import cells


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


def peak_activation_bytes(architecture: Architecture) -> int:
    """The largest sum of simultaneously live tensors: float32, one image, inference, in bytes.

    Blocks run one after the other and hand on a single tensor, so this is the largest of the
    blocks' own peaks, each with its input and output. `operators.memory` has the exact rule.
    """
    return max(operators.activation_bytes(block) for block in architecture.present)


def depth(architecture: Architecture) -> int:
    """Searched layers that compute something: not skipped, and no identity without weights."""
    return sum(block is not None and bool(cells(block)) for block in architecture.layers)
