"""A plain convolution with batch norm and activation, e.g. the stem."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate


class PlainConv(Operator):
    """Convolution, batch norm, activation."""

    name = "conv"
    settings = choices(kernel=(1, 3, 5, 7), activation=ACTIVATIONS)
    defaults = values(activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """One convolution."""
        kernel = self.number(block, "kernel")
        return {
            "conv": Conv(block.in_channels, block.out_channels, block.size, kernel, block.stride)
        }

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        return activate(self.setting(block, "activation"), run("conv", x_NCHW))
