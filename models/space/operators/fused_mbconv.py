"""Inverted residual block whose expansion is a dense convolution (EfficientNetV2, section 3.2)."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate, gate_cells, squeeze_excite


class FusedMBConv(Operator):
    """Expand with a k x k convolution, project with 1x1; residual if the shape is kept.

    At expansion 1 the block is a single activated k x k convolution.
    """

    name = "fused_mbconv"
    settings = choices(
        kernel=(3, 5), expansion=(1, 2, 3, 4, 5, 6), squeeze_excite=(0, 1), activation=ACTIVATIONS
    )
    defaults = values(squeeze_excite=0, activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """Expansion, gate, projection (omitted at expansion 1)."""
        kernel, expansion = self.number(block, "kernel"), self.number(block, "expansion")
        hidden = block.in_channels * expansion if expansion > 1 else block.out_channels
        # The same cell for all expansions, so that weights are shared.
        cells: dict[str, Cell] = {
            "expand": Conv(block.in_channels, hidden, block.size, kernel, block.stride)
        }
        if self.number(block, "squeeze_excite"):
            cells |= gate_cells(hidden)
        if expansion > 1:
            cells["project"] = Conv(hidden, block.out_channels, block.out_size)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        out = activate(self.setting(block, "activation"), run("expand", x_NCHW))
        if self.number(block, "squeeze_excite"):
            out = squeeze_excite(out, run)
        if self.number(block, "expansion") > 1:
            out = run("project", out)
        # Not in place: at expansion 1 the activation's backward pass may need `out` unmodified.
        return out + x_NCHW if block.keeps_shape else out
