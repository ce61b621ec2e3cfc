"""Operator interface: the cells of a block, and its forward pass.

The plain module, the supernet's weight-sharing module and the costs are all derived from `cells`
and `forward`. Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from models.space.architecture import Block, Setting


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, followed by batch normalisation."""

    in_channels: int
    out_channels: int
    size: int
    """Height and width of the input."""
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Output shape for one image, (C, H, W)."""
        out_size = -(-self.size // self.stride)
        return (self.out_channels, out_size, out_size)

    @property
    def fan_in(self) -> int:
        """Weights per output channel."""
        return self.kernel**2 * (1 if self.depthwise else self.in_channels)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return math.prod(self.out_shape) * self.fan_in

    @property
    def parameters(self) -> int:
        """Trainable parameters: kernel, and scale and shift of the batch norm."""
        return self.out_channels * (self.fan_in + 2)


@dataclass(frozen=True)
class Affine:
    """A weight matrix and a bias, without norm."""

    in_channels: int
    out_channels: int

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return self.in_channels * self.out_channels

    @property
    def parameters(self) -> int:
        """Trainable parameters: weight and bias."""
        return self.out_channels * (self.in_channels + 1)


class Linear(Affine):
    """A fully connected layer, on features of shape (N, C)."""

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Output shape for one image, (C,)."""
        return (self.out_channels,)


class Pointwise(Affine):
    """A 1x1 convolution of a gate (squeeze-excite, split attention), on features (N, C, 1, 1)."""

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Output shape for one image, (C, 1, 1)."""
        return (self.out_channels, 1, 1)


Cell = Conv | Linear | Pointwise
Run = Callable[[str, Tensor], Tensor]
"""Apply the named cell to a tensor; the caller supplies the weights."""


class OperatorError(ValueError):
    """A setting or shape that an operator does not support."""


def choices(**settings: tuple[Setting, ...]) -> Mapping[str, tuple[Setting, ...]]:
    """Settings of an operator with their allowed values."""
    return settings


def values(**settings: Setting) -> Mapping[str, Setting]:
    """A value for each of some settings."""
    return settings


class Operator(ABC):
    """One type of block."""

    name: ClassVar[str]
    place: ClassVar[Literal["front", "layer", "head"]] = "layer"
    """Allowed position: before the stem; stem or searched layer; end of the network."""
    settings: ClassVar[Mapping[str, tuple[Setting, ...]]]
    """All settings and their allowed values."""
    defaults: ClassVar[Mapping[str, Setting]] = {}
    """Defaults of optional settings. A block never stores a default value."""

    def setting(self, block: Block, name: str) -> Setting:
        """The block's value of a setting, stored or default."""
        stored = block.options.get(name)
        return self.defaults[name] if stored is None else stored

    def number(self, block: Block, name: str) -> int:
        """The block's value of an integer setting."""
        return int(self.setting(block, name))

    @abstractmethod
    def cells(self, block: Block) -> dict[str, Cell]:
        """The cells of `block` by name, in execution order; the last Conv produces the output.

        Raises:
            OperatorError: the operator does not support the block's shape.
        """

    @abstractmethod
    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """Compute the block; every cell is applied through `run`."""
