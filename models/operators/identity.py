"""The operator that does as little as the shapes allow (NAS-Bench-Macro's identity)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from models.architecture import Block, Setting
from models.operators.base import Cell, Conv, Operator, Run


class Identity(Operator):
    """Nothing; where the shape changes a 1x1 convolution with the stride, not activated.

    One that does nothing is no layer: it has no batch norm, counts nothing in the depth, and
    adds nothing to the BN indicator.
    """

    name = "identity"
    settings: ClassVar[Mapping[str, tuple[Setting, ...]]] = {}

    def cells(self, block: Block) -> dict[str, Cell]:
        """No cell, or the convolution."""
        if block.keeps_shape:
            return {}
        conv = Conv(block.in_channels, block.out_channels, block.size, stride=block.stride)
        return {"conv": conv}

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride); the input itself where it fits."""
        return x_NCHW if block.keeps_shape else run("conv", x_NCHW)
