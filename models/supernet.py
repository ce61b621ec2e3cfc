"""The supernet: one set of shared weights from which every network of a space can be sliced.

Per position and operator there is one module, with the largest shape that any block of the space
needs there. A smaller block uses the first channels and the centre of the kernel of the same
weights. Batch norms are private to each candidate (an operator with its settings), because the
statistics of a 3x3 and of a 5x5 convolution differ; over widths they are sliced like the weights.
A space with `weights: private` gets one module per candidate instead: only widths are shared.

There is no hidden "active" network: `forward` is told the architecture, every time.
The shared weights themselves are in `shared_cells`.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from models.architecture import Architecture, ArchitectureError, Block
from models.operators import OPERATORS, cells
from models.operators.base import Cell, Conv
from models.shared_cells import shared_cell, slices
from models.space import SearchSpace
from models.subnet import Subnet, initialise


@lru_cache(maxsize=65536)
def candidate_name(block: Block) -> str:
    """The name of a block's candidate: its settings, as a key that modules accept."""
    words = (f"{name}{value}".replace(".", "_") for name, value in block.settings)
    return "-".join(words) or "only"


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
        self.cells = nn.ModuleDict({name: shared_cell(c) for name, c in shapes.items()})

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
        self.private_weights = space.private_weights
        self._known = tuple(frozenset(blocks) for blocks in space.possible())
        self.positions = nn.ModuleList()
        for blocks in space.possible():
            sharing: dict[str, list[Block]] = {}
            for block in blocks:
                sharing.setdefault(self._module_name(block), []).append(block)
            self.positions.append(
                nn.ModuleDict({name: SharedBlock(here) for name, here in sharing.items()})
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
        shared = self.positions[position].get_submodule(self._module_name(block))
        assert isinstance(shared, SharedBlock)
        return shared

    def _module_name(self, block: Block) -> str:
        """The module of a position that holds a block's weights."""
        if self.private_weights:
            return f"{block.operator}-{candidate_name(block)}"
        return block.operator


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
    state = plain.state_dict(keep_vars=True)
    for name, value in slices(shared, cell, candidate).items():
        state[name].copy_(value)
