"""The basic residual block (He et al. 2016, "Deep Residual Learning", section 3.3)."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate


class ResidualBasic(Operator):
    """Two k x k convolutions and a shortcut; a 1x1 convolution where the shape changes."""

    name = "residual_basic"
    settings = choices(kernel=(3, 5), activation=ACTIVATIONS)
    defaults = values(activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """The shortcut if it has weights, then the two convolutions."""
        before, after, kernel = block.in_channels, block.out_channels, self.number(block, "kernel")
        cells: dict[str, Cell] = {}
        if not block.keeps_shape:
            cells["shortcut"] = Conv(before, after, block.size, stride=block.stride)
        cells["conv1"] = Conv(before, after, block.size, kernel, block.stride)
        cells["conv2"] = Conv(after, after, block.out_size, kernel)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        activation = self.setting(block, "activation")
        hidden = activate(activation, run("conv1", x_NCHW))
        hidden = run("conv2", hidden)
        shortcut = x_NCHW if block.keeps_shape else run("shortcut", x_NCHW)
        return activate(activation, hidden.add_(shortcut))
