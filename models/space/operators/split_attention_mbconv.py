"""Inverted residual block with split attention and a searchable number of splits (FP-NAS)."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate, gate_cells, split_attention


class SplitAttentionMBConv(Operator):
    """MBConv with parallel depthwise convolutions and attention over them.

    Each split has its own depthwise weights, so that slices are the same for all numbers of
    splits. One split is an MBConv with squeeze-excite.
    """

    name = "split_attention_mbconv"
    settings = choices(
        kernel=(3, 5, 7), expansion=(1, 2, 3, 4, 5, 6), splits=(1, 2, 4), activation=ACTIVATIONS
    )
    defaults = values(activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """Expansion (omitted at 1), one depthwise convolution per split, gate, projection."""
        expansion, splits = self.number(block, "expansion"), self.number(block, "splits")
        hidden = block.in_channels * expansion
        depthwise = Conv(
            hidden, hidden, block.size, self.number(block, "kernel"), block.stride, depthwise=True
        )
        cells: dict[str, Cell] = {}
        if expansion > 1:
            cells["expand"] = Conv(block.in_channels, hidden, block.size)
        cells |= {f"depthwise{number + 1}": depthwise for number in range(splits)}
        cells |= gate_cells(hidden, splits)
        cells["project"] = Conv(hidden, block.out_channels, block.out_size)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        activation, hidden = self.setting(block, "activation"), x_NCHW
        if self.number(block, "expansion") > 1:
            hidden = activate(activation, run("expand", hidden))
        splits_NCHW = [
            activate(activation, run(f"depthwise{number + 1}", hidden))
            for number in range(self.number(block, "splits"))
        ]
        out = run("project", split_attention(splits_NCHW, run))
        return out.add_(x_NCHW) if block.keeps_shape else out
