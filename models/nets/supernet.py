"""The supernet: shared weights of which every network of a space is a slice.

Per position and operator there is one module with the largest shape in the space. A smaller block
uses the first channels and the kernel's centre of the same weights. Each candidate (an operator
with its settings) has its own batch norms, because the statistics of e.g. 3x3 and 5x5 convolutions
differ; over widths they are sliced like the weights. With `weights: private` each candidate has its
own module: only widths are shared.

The supernet has no active network as state: `forward` takes the architecture as an argument.
The shared weights are implemented in `shared_cells`.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import UserError
from models.nets.shared_cells import shared_cell, slices
from models.nets.subnet import Subnet, initialise
from models.nets.weights import load_into, read_note
from models.space.architecture import Architecture, Block
from models.space.operators import OPERATORS, cells
from models.space.operators.base import Cell, Conv
from models.space.space import SearchSpace

SUPERNET_FILE = "supernet.safetensors"
PRETRAINED = "pretrained"
"""Key of the file's note: `Supernet.pretrained`."""


@lru_cache(maxsize=65536)
def candidate_name(block: Block) -> str:
    """Name of a block's candidate: its settings, as a valid `ModuleDict` key."""
    words = (f"{name}{value}".replace(".", "_") for name, value in block.settings)
    return "-".join(words) or "only"


class SharedBlock(nn.Module):
    """One operator at one position, for all its blocks that are possible there."""

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
        """Compute `block` with slices of the shared weights."""
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
    """All networks of a space, with shared weights.

    `generator` is that of the initial weights; None uses torch's global one.

    Attributes:
        pretrained: whether the training started from given weights (`supernet.start_from`).
    """

    pretrained = False

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
                nn.ModuleDict({name: SharedBlock(group) for name, group in sharing.items()})
            )
        initialise(self, generator)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def read(cls, folder: Path, space: SearchSpace) -> Supernet:
        """Read the weights written by the stage supernet.

        Raises:
            UserError: they are missing, corrupt, or of another space.
        """
        supernet = cls(space)
        load_into(supernet, folder / SUPERNET_FILE)
        supernet.pretrained = bool(read_note(folder / SUPERNET_FILE).get(PRETRAINED))
        return supernet

    def forward(
        self, images_NCHW: Tensor, architecture: Architecture, update_statistics: bool = True
    ) -> Tensor:
        """Normalised images (N, C, H, W) to the logits (N, K) of one architecture.

        In training mode batch norms use batch statistics and, with `update_statistics`, update the
        running statistics of the candidates on the path.

        Raises:
            UserError: the architecture is not of this supernet's space.
        """
        x = images_NCHW
        for position, block in enumerate(architecture.blocks):
            if block is not None:
                x = self.shared_block(position, block)(x, block, update_statistics)
        return x

    def shared_block(self, position: int, block: Block) -> SharedBlock:
        """The module with the weights of `block` at `position`.

        Raises:
            UserError: the block is not possible at this position.
        """
        if position >= len(self._known) or block not in self._known[position]:
            raise UserError(
                f"block '{block.key}' at position {position} is not in the supernet of space "
                f"'{self.space_name}'. Use an architecture of the space it was trained on."
            )
        shared = self.positions[position].get_submodule(self._module_name(block))
        assert isinstance(shared, SharedBlock)
        return shared

    def _module_name(self, block: Block) -> str:
        """Name of the module with a block's weights."""
        if self.private_weights:
            return f"{block.operator}-{candidate_name(block)}"
        return block.operator


@torch.no_grad()
def extract(supernet: Supernet, architecture: Architecture) -> Subnet:
    """Extract a plain network with copies of the architecture's weights and batch norms.

    Raises:
        UserError: the architecture is not of this supernet's space.
    """
    subnet = Subnet(architecture)
    subnet.pretrained = supernet.pretrained
    plain_blocks = iter(subnet.blocks)
    for position, block in enumerate(architecture.blocks):
        if block is None:
            continue
        shared, plain = supernet.shared_block(position, block), next(plain_blocks)
        for name, cell in cells(block).items():
            state = plain.get_submodule(f"cells.{name}").state_dict(keep_vars=True)
            parts = slices(shared.cells[name], cell, candidate_name(block))
            for tensor, value in parts.items():
                state[tensor].copy_(value)
    subnet.to(memory_format=torch.channels_last)
    return subnet.train(supernet.training)
