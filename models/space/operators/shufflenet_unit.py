"""The unit of ShuffleNetV2 (section 3.2), and its Xception variant (SPOS, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Operator, OperatorError, Run, choices, values
from models.space.operators.parts import activate


class ShuffleNetUnit(Operator):
    """Channel split into a bypass and a residual branch, then concatenation.

    The shuffle is at the input: even channels bypass, odd channels are transformed. Up to channel
    order this equals a split in halves with a shuffle at the output, and it supports odd numbers
    of channels. Where the shape changes, both branches read all channels and the bypass is a
    depthwise separable convolution.
    """

    name = "shufflenet_unit"
    settings = choices(kernel=(3, 5, 7), xception=(0, 1))
    defaults = values(xception=0)

    def cells(self, block: Block) -> dict[str, Cell]:
        """The cells of the bypass, if any, then those of the main branch."""
        if min(block.in_channels, block.out_channels) < 2:
            raise OperatorError(f"'{block.key}': a shufflenet_unit needs at least 2 channels.")
        working = block.out_channels // 2
        kernel, stride, out_size = self.number(block, "kernel"), block.stride, block.out_size
        cells: dict[str, Cell] = {}
        source = block.in_channels
        if block.keeps_shape:
            source = working
        else:
            cells["pass_depthwise"] = Conv(
                source, source, block.size, kernel, stride, depthwise=True
            )
            cells["pass_pointwise"] = Conv(source, block.out_channels - working, out_size)
        if not self.number(block, "xception"):
            cells["pointwise1"] = Conv(source, working, block.size)
            cells["depthwise1"] = Conv(working, working, block.size, kernel, stride, depthwise=True)
            cells["pointwise2"] = Conv(working, working, out_size)
            return cells
        cells["depthwise1"] = Conv(source, source, block.size, kernel, stride, depthwise=True)
        cells["pointwise1"] = Conv(source, working, out_size)
        for number in (2, 3):
            cells[f"depthwise{number}"] = Conv(working, working, out_size, kernel, depthwise=True)
            cells[f"pointwise{number}"] = Conv(working, working, out_size)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        if block.keeps_shape:
            passing, working = x_NCHW[:, 0::2], x_NCHW[:, 1::2]
        else:
            passing = run("pass_pointwise", run("pass_depthwise", x_NCHW))
            passing, working = activate("relu", passing), x_NCHW
        if self.number(block, "xception"):
            for number in (1, 2, 3):
                working = run(f"pointwise{number}", run(f"depthwise{number}", working))
                working = activate("relu", working)
        else:
            working = run("depthwise1", activate("relu", run("pointwise1", working)))
            working = activate("relu", run("pointwise2", working))
        return torch.cat((passing, working), 1)
