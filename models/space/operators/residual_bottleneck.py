"""The bottleneck residual block (He et al. 2016, "Deep Residual Learning", section 4.1)."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, OperatorError, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate


class ResidualBottleneck(Operator):
    """1x1 reduction, k x k convolution, 1x1 expansion, and a shortcut as in the basic block.

    The stride is in the k x k convolution.
    """

    name = "residual_bottleneck"
    settings = choices(kernel=(3, 5), reduction=(2, 4), activation=ACTIVATIONS)
    defaults = values(activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """The shortcut if it has weights, then the three convolutions."""
        before, after, kernel = block.in_channels, block.out_channels, self.number(block, "kernel")
        reduced = after // self.number(block, "reduction")
        if reduced < 1:
            raise OperatorError(f"'{block.key}': the reduction leaves no channel.")
        cells: dict[str, Cell] = {}
        if not block.keeps_shape:
            cells["shortcut"] = Conv(before, after, block.size, stride=block.stride)
        cells["reduce"] = Conv(before, reduced, block.size)
        cells["conv"] = Conv(reduced, reduced, block.size, kernel, block.stride)
        cells["widen"] = Conv(reduced, after, block.out_size)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        activation = self.setting(block, "activation")
        hidden = activate(activation, run("reduce", x_NCHW))
        hidden = activate(activation, run("conv", hidden))
        hidden = run("widen", hidden)
        shortcut = x_NCHW if block.keeps_shape else run("shortcut", x_NCHW)
        return activate(activation, hidden.add_(shortcut))
