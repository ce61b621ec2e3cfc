"""Analytical costs of a network: exact sums or maxima over its blocks."""

from __future__ import annotations

from functools import lru_cache

from models.space import operators
from models.space.architecture import Architecture, Block
from models.space.operators import cells


@lru_cache(maxsize=65536)
def block_flops(block: Block) -> int:
    """Multiply-accumulate operations (MACs) of one block for one image."""
    return operators.macs(block)


@lru_cache(maxsize=65536)
def block_parameters(block: Block) -> int:
    """Trainable parameters of one block."""
    return operators.parameters(block)


def flops(architecture: Architecture) -> int:
    """MACs for one image; the papers call them FLOPs."""
    return sum(block_flops(block) for block in architecture.present)


def parameters(architecture: Architecture) -> int:
    """Trainable parameters of the network."""
    return sum(block_parameters(block) for block in architecture.present)


def peak_activation_bytes(architecture: Architecture) -> int:
    """Peak bytes of simultaneously live activations: float32, one image, inference.

    Blocks run in sequence and pass on a single tensor, so this is the maximum of the blocks'
    peaks, each including its input and output. See `operators.memory` for the exact rule.
    """
    return max(operators.activation_bytes(block) for block in architecture.present)


def depth(architecture: Architecture) -> int:
    """Number of searched layers that compute something: not skipped, not a plain identity."""
    return sum(block is not None and bool(cells(block)) for block in architecture.layers)
