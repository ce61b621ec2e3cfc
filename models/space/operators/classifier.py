"""The head of every network: 1x1 convolution, global average pooling, linear classifier."""

from __future__ import annotations

from torch import Tensor

from models.space.architecture import Block
from models.space.operators.base import Cell, Conv, Linear, Operator, Run, choices, values
from models.space.operators.parts import ACTIVATIONS, activate


class Classifier(Operator):
    """1x1 convolution to `width` channels, global average pooling, fully connected layer.

    The cell `linear` is applied to the pooled features.
    """

    name = "classifier"
    place = "head"
    settings = choices(width=tuple(range(8, 4097)), activation=ACTIVATIONS)
    defaults = values(activation="relu")

    def cells(self, block: Block) -> dict[str, Cell]:
        """The 1x1 convolution and the fully connected layer."""
        width = self.number(block, "width")
        return {
            "widen": Conv(block.in_channels, width, block.size),
            "linear": Linear(width, block.out_channels),
        }

    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """(N, in, H, W) to logits (N, classes)."""
        widened_NCHW = activate(self.setting(block, "activation"), run("widen", x_NCHW))
        features_NC = widened_NCHW.mean((2, 3))
        return run("linear", features_NC)
