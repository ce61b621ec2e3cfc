"""What an operator is: the cells it is made of, and how a tensor flows through them.

An operator is written ONCE. Its plain module (training, export), its weight-sharing form in the
supernet, and its costs all come from the same `cells` and the same `forward`, so they cannot
disagree. Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from models.architecture import Block, Setting


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, followed by batch normalisation.

    `size` is its input's height and width; `groups` is 1 or, depthwise, `in_channels`.
    """

    in_channels: int
    out_channels: int
    size: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        out_size = -(-self.size // self.stride)
        fan_in = self.kernel**2 * (1 if self.depthwise else self.in_channels)
        return out_size**2 * self.out_channels * fan_in

    @property
    def parameters(self) -> int:
        """Trainable numbers: the kernel, and the batch norm's scale and shift."""
        fan_in = self.kernel**2 * (1 if self.depthwise else self.in_channels)
        return self.out_channels * (fan_in + 2)


@dataclass(frozen=True)
class Linear:
    """A fully connected layer with bias, on features of shape (N, C)."""

    in_features: int
    out_features: int

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return self.in_features * self.out_features

    @property
    def parameters(self) -> int:
        """Trainable numbers: the matrix and the bias."""
        return self.out_features * (self.in_features + 1)


Cell = Conv | Linear
Run = Callable[[str, Tensor], Tensor]
"""Apply the named cell to a tensor, whoever holds its weights."""


class Operator(ABC):
    """One kind of block."""

    name: ClassVar[str]
    settings: ClassVar[Mapping[str, tuple[Setting, ...]]]
    """Every setting and the values it may take."""

    @abstractmethod
    def cells(self, block: Block) -> dict[str, Cell]:
        """The cells of `block` by name, in the order they run; the last Conv ends the block."""

    @abstractmethod
    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """Compute the block, taking every weighted step through `run`."""
