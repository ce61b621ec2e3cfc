"""Depthwise separable convolution (MobileNet, section 3.1)."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate, gate_cells, squeeze_excite


class DepthwiseSeparable(Operator):
    """Depthwise, then pointwise convolution; both activated, no residual."""

    name = "depthwise_separable"
    settings = choices(kernel=(3, 5, 7), squeeze_excite=(0, 1), activation=ACTIVATIONS)
    defaults = values(squeeze_excite=0, activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """Depthwise convolution, gate, 1x1 convolution."""
        channels, kernel = block.in_channels, self.number(block, "kernel")
        cells: dict[str, Cell] = {
            "depthwise": Conv(channels, channels, block.size, kernel, block.stride, depthwise=True)
        }
        if self.number(block, "squeeze_excite"):
            cells |= gate_cells(channels)
        cells["pointwise"] = Conv(channels, block.out_channels, block.out_size)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        activation = self.setting(block, "activation")
        hidden = activate(activation, run("depthwise", x_NCHW))
        if self.number(block, "squeeze_excite"):
            hidden = squeeze_excite(hidden, run)
        return activate(activation, run("pointwise", hidden))
