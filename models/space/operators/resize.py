"""Resizing the image before the stem, for searchable resolutions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from models.space.architecture import RESIZE, Block
from models.space.operators.base import Cell, Operator, OperatorError, Run, choices


class Resize(Operator):
    """Bilinear resize to `to` pixels, without weights."""

    name = RESIZE
    place = "front"
    settings = choices(to=tuple(range(8, 513)))

    def cells(self, block: Block) -> dict[str, Cell]:
        """Empty: no weights."""
        if block.stride != 1 or block.in_channels != block.out_channels:
            raise OperatorError(f"'{block.key}': a resize needs equal channels and stride 1.")
        return {}

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, C, H, W) to (N, C, to, to); no-op for inputs of that size."""
        if block.out_size == block.size:
            return x_NCHW
        to = (block.out_size, block.out_size)
        return functional.interpolate(x_NCHW, to, mode="bilinear", align_corners=False)
