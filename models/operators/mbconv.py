"""Inverted residual block with a depthwise convolution (MobileNetV2, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import relu

from models.architecture import Block, Setting
from models.operators.base import Cell, Conv, Operator, Run


class MBConv(Operator):
    """Expand with 1x1, filter each channel, project with 1x1; a residual where shapes allow."""

    name = "mbconv"
    settings: ClassVar[Mapping[str, tuple[Setting, ...]]] = {
        "kernel": (3, 5, 7),
        "expansion": (1, 2, 3, 4, 5, 6),
    }

    def cells(self, block: Block) -> dict[str, Cell]:
        """Expansion (left out at 1), depthwise convolution, projection."""
        kernel, expansion = int(block.options["kernel"]), int(block.options["expansion"])
        hidden = block.in_channels * expansion
        cells: dict[str, Cell] = {}
        if expansion > 1:
            cells["expand"] = Conv(block.in_channels, hidden, block.size)
        cells["depthwise"] = Conv(hidden, hidden, block.size, kernel, block.stride, depthwise=True)
        cells["project"] = Conv(hidden, block.out_channels, block.out_size)
        return cells

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        hidden = x_NCHW
        if int(block.options["expansion"]) > 1:
            hidden = relu(run("expand", hidden), inplace=True)
        hidden = relu(run("depthwise", hidden), inplace=True)
        out = run("project", hidden)
        if block.stride == 1 and block.in_channels == block.out_channels:
            out = out + x_NCHW
        return out
