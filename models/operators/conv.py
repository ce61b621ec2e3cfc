"""A plain convolution with batch norm and activation: every network's stem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import relu

from models.architecture import Block, Setting
from models.operators.base import Cell, Conv, Operator, Run


class PlainConv(Operator):
    """Convolution, batch norm, ReLU."""

    name = "conv"
    settings: ClassVar[Mapping[str, tuple[Setting, ...]]] = {"kernel": (1, 3, 5, 7)}

    def cells(self, block: Block) -> dict[str, Cell]:
        """One convolution."""
        kernel = int(block.options["kernel"])
        return {
            "conv": Conv(block.in_channels, block.out_channels, block.size, kernel, block.stride)
        }

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        return relu(run("conv", x_NCHW), inplace=True)
