"""Inverted residual block with a depthwise convolution (MobileNetV2, section 3)."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate, gate_cells, squeeze_excite


class MBConv(Operator):
    """1x1 expansion, depthwise, 1x1 projection; residual if the shape is kept.

    Squeeze-excite comes before the projection, as in MobileNetV3 (section 4).
    """

    name = "mbconv"
    settings = choices(
        kernel=(3, 5, 7),
        expansion=(1, 2, 3, 4, 5, 6),
        squeeze_excite=(0, 1),
        activation=ACTIVATIONS,
    )
    defaults = values(squeeze_excite=0, activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """Expansion (omitted at 1), depthwise convolution, gate, projection."""
        expansion = self.number(block, "expansion")
        hidden = block.in_channels * expansion
        cells: dict[str, Cell] = {}
        if expansion > 1:
            cells["expand"] = Conv(block.in_channels, hidden, block.size)
        cells["depthwise"] = Conv(
            hidden, hidden, block.size, self.number(block, "kernel"), block.stride, depthwise=True
        )
        if self.number(block, "squeeze_excite"):
            cells |= gate_cells(hidden)
        cells["project"] = Conv(hidden, block.out_channels, block.out_size)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        activation, hidden = self.setting(block, "activation"), x_NCHW
        if self.number(block, "expansion") > 1:
            hidden = activate(activation, run("expand", hidden))
        hidden = activate(activation, run("depthwise", hidden))
        if self.number(block, "squeeze_excite"):
            hidden = squeeze_excite(hidden, run)
        out = run("project", hidden)
        return out.add_(x_NCHW) if block.keeps_shape else out
