"""Identity, or a linear 1x1 convolution where the shape changes (NAS-Bench-Macro)."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, Run, choices


class Identity(Operator):
    """Identity; a strided 1x1 convolution without activation where the shape changes.

    A plain identity has no batch norm and adds nothing to depth or BN indicator.
    """

    name = "identity"
    settings = choices()

    def cells(self, block: Block) -> dict[str, Cell]:
        """Empty, or the convolution."""
        if block.keeps_shape:
            return {}
        conv = Conv(block.in_channels, block.out_channels, block.size, stride=block.stride)
        return {"conv": conv}

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        return x_NCHW if block.keeps_shape else run("conv", x_NCHW)
