"""The supernet: one set of shared weights from which every network of a space can be sliced.

Per position and operator there is one module, with the largest shape that any block of the space
needs there. A smaller block uses the first channels and the centre of the kernel of the same
weights. Batch norms are private to each candidate (an operator with its settings), because the
statistics of a 3x3 and of a 5x5 convolution differ; over widths they are sliced like the weights.

There is no hidden "active" network: `forward` is told the architecture, every time.
Axes: N images, C channels, H height, W width, K classes, O and I a weight's outputs and inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architecture import Architecture, ArchitectureError, Block
from models.operators import OPERATORS, cells
from models.operators.base import Cell, Conv, Linear
from models.space import SearchSpace
from models.subnet import ConvNorm, Subnet, initialise


def candidate_name(block: Block) -> str:
    """The name of a block's candidate: its settings, as a key that modules accept."""
    words = (f"{name}{value}".replace(".", "_") for name, value in block.settings)
    return "-".join(words) or "only"


class SlicedNorm(nn.Module):
    """Batch normalisation whose first channels serve narrower blocks."""

    eps = 1e-5
    momentum = 0.1
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_NCHW: Tensor, update_statistics: bool) -> Tensor:
        """Normalise by the batch in training, by the running statistics in evaluation."""
        channels = x_NCHW.shape[1]
        tracked = update_statistics or not self.training
        return functional.batch_norm(
            x_NCHW,
            self.running_mean[:channels] if tracked else None,
            self.running_var[:channels] if tracked else None,
            self.weight[:channels],
            self.bias[:channels],
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )


class SharedConvNorm(nn.Module):
    """A convolution of the largest shape, and one batch norm for each candidate.

    Args:
        by_candidate: per candidate, every shape that the space asks of it.
    """

    def __init__(self, by_candidate: dict[str, list[Conv]]) -> None:
        super().__init__()
        shapes = [cell for candidate in by_candidate.values() for cell in candidate]
        kernel = max(cell.kernel for cell in shapes)
        inputs = 1 if shapes[0].depthwise else max(cell.in_channels for cell in shapes)
        outputs = max(cell.out_channels for cell in shapes)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.norms = nn.ModuleDict(
            {
                name: SlicedNorm(max(cell.out_channels for cell in candidate))
                for name, candidate in by_candidate.items()
            }
        )

    def kernel_of(self, cell: Conv) -> Tensor:
        """The slice (O, I, kernel, kernel) of the shared weights that `cell` uses."""
        border = (self.weight.shape[2] - cell.kernel) // 2
        inputs = 1 if cell.depthwise else cell.in_channels
        weight_OIHW = self.weight[: cell.out_channels, :inputs]
        if border:
            weight_OIHW = weight_OIHW[:, :, border:-border, border:-border]
        return weight_OIHW

    def forward(
        self, x_NCHW: Tensor, cell: Conv, candidate: str, update_statistics: bool
    ) -> Tensor:
        """Compute `cell` with its slice of the weights and its candidate's batch norm."""
        out_NCHW = functional.conv2d(
            x_NCHW,
            self.kernel_of(cell),
            stride=cell.stride,
            padding=cell.kernel // 2,
            groups=cell.in_channels if cell.depthwise else 1,
        )
        normed_NCHW: Tensor = self.norms[candidate](out_NCHW, update_statistics)
        return normed_NCHW


class SharedLinear(nn.Module):
    """A fully connected layer of the largest shape."""

    def __init__(self, shapes: Sequence[Linear]) -> None:
        super().__init__()
        outputs = max(cell.out_features for cell in shapes)
        inputs = max(cell.in_features for cell in shapes)
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, features_NC: Tensor, cell: Linear) -> Tensor:
        """(N, in_features) to (N, out_features) with the first rows and columns."""
        weight = self.weight[: cell.out_features, : cell.in_features]
        return functional.linear(features_NC, weight, self.bias[: cell.out_features])


class SharedBlock(nn.Module):
    """One operator at one position, in every shape the space asks for.

    Args:
        blocks: every block that the space may put there with this operator.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.operator = OPERATORS[blocks[0].operator]
        shapes: dict[str, dict[str, list[Cell]]] = {}
        for block in blocks:
            for name, cell in cells(block).items():
                candidates = shapes.setdefault(name, {})
                candidates.setdefault(candidate_name(block), []).append(cell)
        self.cells = nn.ModuleDict({name: _shared_cell(c) for name, c in shapes.items()})

    def forward(self, x_NCHW: Tensor, block: Block, update_statistics: bool) -> Tensor:
        """Compute `block` with its slices of the shared weights."""
        shapes, candidate = cells(block), candidate_name(block)

        def run(name: str, x: Tensor) -> Tensor:
            cell, module = shapes[name], self.cells[name]
            if isinstance(cell, Conv):
                out: Tensor = module(x, cell, candidate, update_statistics)
            else:
                out = module(x, cell)
            return out

        return self.operator.forward(block, x_NCHW, run)


class Supernet(nn.Module):
    """Every network of a space at once, with shared weights.

    Args:
        space: the networks it must hold.
        generator: of the initial weights; None takes torch's own.
    """

    def __init__(self, space: SearchSpace, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.space_name = space.name
        self._known = tuple(frozenset(blocks) for blocks in space.possible())
        self.positions = nn.ModuleList()
        for blocks in space.possible():
            operators: dict[str, list[Block]] = {}
            for block in blocks:
                operators.setdefault(block.operator, []).append(block)
            self.positions.append(
                nn.ModuleDict({name: SharedBlock(here) for name, here in operators.items()})
            )
        initialise(self, generator)
        self.to(memory_format=torch.channels_last)

    def forward(
        self, images_NCHW: Tensor, architecture: Architecture, update_statistics: bool = True
    ) -> Tensor:
        """Normalised images (N, C, H, W) to the logits (N, K) of one architecture.

        In training mode batch norms use the batch's statistics and, with `update_statistics`,
        move the running statistics of the candidates on the path; nothing else changes.

        Raises:
            ArchitectureError: the architecture is not of this supernet's space.
        """
        x = images_NCHW
        for position, block in enumerate(architecture.blocks):
            if block is not None:
                x = self.shared_block(position, block)(x, block, update_statistics)
        return x

    def shared_block(self, position: int, block: Block) -> SharedBlock:
        """The module that holds the weights of `block` at `position`.

        Raises:
            ArchitectureError: the supernet holds no such block there.
        """
        if position >= len(self._known) or block not in self._known[position]:
            raise ArchitectureError(
                f"block '{block.key}' at position {position} is not in the supernet of space "
                f"'{self.space_name}'. Take an architecture of the space it was trained on."
            )
        shared = self.positions[position].get_submodule(block.operator)
        assert isinstance(shared, SharedBlock)
        return shared


@torch.no_grad()
def extract(supernet: Supernet, architecture: Architecture) -> Subnet:
    """A plain network with copies of the architecture's slices: weights and batch norms.

    Raises:
        ArchitectureError: the architecture is not of this supernet's space.
    """
    subnet = Subnet(architecture)
    plain_blocks = iter(subnet.blocks)
    for position, block in enumerate(architecture.blocks):
        if block is None:
            continue
        shared, plain = supernet.shared_block(position, block), next(plain_blocks)
        for name, cell in cells(block).items():
            path = f"cells.{name}"
            modules = shared.get_submodule(path), plain.get_submodule(path)
            _copy_cell(*modules, cell, candidate_name(block))
    subnet.to(memory_format=torch.channels_last)
    return subnet.train(supernet.training)


def _copy_cell(shared: nn.Module, plain: nn.Module, cell: Cell, candidate: str) -> None:
    if isinstance(cell, Linear):
        assert isinstance(shared, SharedLinear)
        assert isinstance(plain, nn.Linear)
        plain.weight.copy_(shared.weight[: cell.out_features, : cell.in_features])
        plain.bias.copy_(shared.bias[: cell.out_features])
        return
    assert isinstance(shared, SharedConvNorm)
    assert isinstance(plain, ConvNorm)
    norm = shared.norms[candidate]
    plain.conv.weight.copy_(shared.kernel_of(cell))
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(plain.norm, name).copy_(getattr(norm, name)[: cell.out_channels])


def _shared_cell(by_candidate: dict[str, list[Cell]]) -> nn.Module:
    shapes = [cell for candidate in by_candidate.values() for cell in candidate]
    if isinstance(shapes[0], Linear):
        return SharedLinear([cell for cell in shapes if isinstance(cell, Linear)])
    return SharedConvNorm(
        {
            name: [cell for cell in candidate if isinstance(cell, Conv)]
            for name, candidate in by_candidate.items()
        }
    )
