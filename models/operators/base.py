"""What an operator is: the cells it is made of, and how a tensor flows through them.

An operator is written ONCE. Its plain module (training, export), its weight-sharing form in the
supernet, and its costs all come from the same `cells` and the same `forward`, so they cannot
disagree. Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

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
    def out_shape(self) -> tuple[int, ...]:
        """The output of one image, (C, H, W)."""
        out_size = -(-self.size // self.stride)
        return (self.out_channels, out_size, out_size)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        fan_in = self.kernel**2 * (1 if self.depthwise else self.in_channels)
        return math.prod(self.out_shape) * fan_in

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
    def out_shape(self) -> tuple[int, ...]:
        """The output of one image, (C,)."""
        return (self.out_features,)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return self.in_features * self.out_features

    @property
    def parameters(self) -> int:
        """Trainable numbers: the matrix and the bias."""
        return self.out_features * (self.in_features + 1)


@dataclass(frozen=True)
class Pointwise:
    """A 1x1 convolution with bias and without norm, on pooled features (N, C, 1, 1).

    What gates are made of: squeeze-excite, and the attention over splits.
    """

    in_channels: int
    out_channels: int

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The output of one image, (C, 1, 1)."""
        return (self.out_channels, 1, 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return self.in_channels * self.out_channels

    @property
    def parameters(self) -> int:
        """Trainable numbers: the kernel and the bias."""
        return self.out_channels * (self.in_channels + 1)


Cell = Conv | Linear | Pointwise
Run = Callable[[str, Tensor], Tensor]
"""Apply the named cell to a tensor, whoever holds its weights."""


class OperatorError(ValueError):
    """A setting that an operator does not have, or a shape that it cannot take."""


class Operator(ABC):
    """One kind of block."""

    name: ClassVar[str]
    place: ClassVar[Literal["front", "layer", "head"]] = "layer"
    """Where it may stand: before the stem, as the stem or a searched layer, or at the end."""
    settings: ClassVar[Mapping[str, tuple[Setting, ...]]]
    """Every setting and the values it may take."""
    defaults: ClassVar[Mapping[str, Setting]] = {}
    """Settings that a space need not name. A block never stores one that is at its default."""
    unsuited: ClassVar[Mapping[str, str]] = {}
    """Backends that cannot build or run this operator, each with the reason that was seen."""

    def setting(self, block: Block, name: str) -> Setting:
        """The block's value of a setting, stored or by default."""
        stored = block.options.get(name)
        return self.defaults[name] if stored is None else stored

    def number(self, block: Block, name: str) -> int:
        """The block's value of a setting that is a whole number."""
        return int(self.setting(block, name))

    def why_unsuited(self, block: Block, backend: str) -> str:
        """Why a backend of this name cannot build or run `block`; empty if it can.

        An operator whose settings matter for that says so here.
        """
        return self.unsuited.get(backend, "")

    @abstractmethod
    def cells(self, block: Block) -> dict[str, Cell]:
        """The cells of `block` by name, in the order they run; the last Conv ends the block.

        Raises:
            OperatorError: the operator cannot be given the block's channels.
        """

    @abstractmethod
    def forward(self, block: Block, x_NCHW: Tensor, run: Run) -> Tensor:
        """Compute the block, taking every weighted step through `run`."""
