"""A plain network with its own weights, for training, export and deployment.

Independent of the supernet. Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from core.files import read_json
from models.nets.weights import load_into
from models.space.architecture import SCHEMA, Architecture, Block
from models.space.operators import OPERATORS, cells
from models.space.operators.base import Cell, Conv, Linear

SLICE_SHARE = 0.2
"""Share of a slice's weights in the initial weights, if the supernet learnt only these images."""


class ConvNorm(nn.Module):
    """Convolution without bias and batch normalisation."""

    def __init__(self, cell: Conv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            cell.in_channels,
            cell.out_channels,
            cell.kernel,
            cell.stride,
            padding=cell.kernel // 2,
            groups=cell.in_channels if cell.depthwise else 1,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(cell.out_channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H/stride, W/stride)."""
        out: Tensor = self.norm(self.conv(x_NCHW))
        return out


def plain_cell(cell: Cell) -> nn.Module:
    """Build the module of one cell."""
    if isinstance(cell, Conv):
        return ConvNorm(cell)
    if isinstance(cell, Linear):
        return nn.Linear(cell.in_channels, cell.out_channels)
    return nn.Conv2d(cell.in_channels, cell.out_channels, 1)


class PlainBlock(nn.Module):
    """One block with its own weights."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.operator = OPERATORS[block.operator]
        self.cells = nn.ModuleDict({name: plain_cell(cell) for name, cell in cells(block).items()})

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Compute the block."""
        return self.operator.forward(self.block, x_NCHW, self._run)

    def _run(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = self.cells[name](x)
        return out


class Subnet(nn.Module):
    """The network of one architecture, with freshly initialised weights.

    Args:
        architecture: skipped layers have no module.
        generator: of the initial weights; None uses torch's global generator.

    Attributes:
        pretrained: whether it was cut out of a pretrained supernet.
    """

    pretrained = False

    def __init__(
        self, architecture: Architecture, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.blocks = nn.ModuleList(PlainBlock(block) for block in architecture.present)
        initialise(self, generator)

    @classmethod
    def read(cls, folder: Path) -> Subnet:
        """Load a trained network from the output folder of the stage `train`.

        Raises:
            UserError: its architecture or weights are missing, corrupt, or do not match.
        """
        content = read_json(folder / "architecture.json", SCHEMA)
        network = cls(Architecture.from_json(content))
        load_into(network, folder / "model.safetensors")
        return network.eval()

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) to logits (N, classes)."""
        x = images_NCHW
        for block in self.blocks:
            x = block(x)
        return x


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Initialise all convolutions and fully connected layers; batch norms are not changed.

    Convolutions: normal, variance 2 / fan-out (He et al. 2015, section 2.2, backward case), bias 0,
    so that gates start at 0.5 or with equal weights of splits.
    Fully connected layers: uniform within 1 / sqrt(inputs).
    """
    parameters = dict(module.named_parameters())
    for name, weight in parameters.items():
        bias = parameters.get(f"{name.removesuffix('weight')}bias")
        if weight.dim() == 4:
            nn.init.kaiming_normal_(
                weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if bias is not None:
                nn.init.zeros_(bias)
        elif weight.dim() == 2:
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            if bias is not None:
                nn.init.uniform_(bias, -bound, bound, generator=generator)


@torch.no_grad()
def shrink_and_perturb(network: Subnet, share: float | None, generator: torch.Generator) -> None:
    """Replace every parameter by `share * parameter + (1 - share) * random`, in place.

    Without a share it is 1 for a slice of a supernet that started from given weights, whose
    features few images would not teach again, and `SLICE_SHARE` for others.

    Training from converged weights generalises worse than from random ones; shrink and perturb
    avoids that and keeps the faster start (Ash and Adams 2020, "On Warm-Starting Neural Network
    Training", section 4). With a share of 1 nothing changes.
    """
    if share is None:
        share = 1.0 if network.pretrained else SLICE_SHARE
    if share == 1:
        return
    fresh = Subnet(network.architecture, generator)
    for mine, new in zip(network.parameters(), fresh.parameters(), strict=True):
        mine.mul_(share).add_(new, alpha=1 - share)
