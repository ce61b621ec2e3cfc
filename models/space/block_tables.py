"""Vectorised costs of millions of architectures, from look-up tables of block costs.

The block at a position depends on few groups: its own, its stage's width, for a stage's first
layer the previous width, and the resolution where it is searched. Every other layer has equal
input and output widths, whichever layers before it are skipped. So a block's cost is an entry of a
small table, and a network's cost is a sum or a maximum of look-ups, equal to that of
`models.space.costs` bit for bit because blocks are added in the same order.

An architecture is given by its candidate index in every group (`SearchSpace.choices`).
Axes: N architectures, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from models.space.architecture import Architecture, Block
from models.space.space import SearchSpace, SpaceError

ChoicesNG = npt.NDArray[np.unsignedinteger[Any]]
Values = npt.NDArray[Any]
PositionCost = Callable[[int, Block], float]
"""Cost of a block at a position; positions are those of `Architecture.blocks`."""

CHUNK = 1 << 14
"""Architectures per chunk, so that intermediate arrays fit into the CPU cache."""


def sample_choices(space: SearchSpace, count: int, rng: np.random.Generator) -> ChoicesNG:
    """Choices of `count` uniformly random architectures, (N, G)."""
    choices_NG = _empty(space, count)
    for number, group in enumerate(space.groups):
        choices_NG[:, number] = rng.integers(len(group.candidates), size=count, dtype=np.int32)
    return choices_NG


def choices_of(space: SearchSpace, architectures: Iterable[Architecture]) -> ChoicesNG:
    """Choices of the given architectures, (N, G).

    Raises:
        SpaceError: one of them is not in the space.
    """
    rows = [space.choices(architecture) for architecture in architectures]
    choices_NG = _empty(space, len(rows))
    if rows:
        choices_NG[:] = rows
    return choices_NG


def check_choices(space: SearchSpace, choices_NG: ChoicesNG) -> None:
    """Check that an array holds choices of this space.

    Raises:
        SpaceError: the shape, type or a candidate index is invalid.
    """
    sizes = [len(group.candidates) for group in space.groups]
    if (
        choices_NG.ndim != 2
        or choices_NG.shape[1] != len(sizes)
        or choices_NG.dtype.kind not in "ui"
    ):
        raise SpaceError(
            f"choices of space '{space.name}' must be integers of shape (N, {len(sizes)}), not "
            f"{choices_NG.dtype} of shape {choices_NG.shape}."
        )
    for group, size in enumerate(sizes if len(choices_NG) else []):
        column_N = choices_NG[:, group]
        for choice in (int(column_N.min()), int(column_N.max())):
            if not 0 <= choice < size:
                raise SpaceError(
                    f"group '{space.groups[group].name}' of space '{space.name}' has {size} "
                    f"candidates and no number {choice}."
                )


@dataclass(frozen=True)
class Lookup:
    """A table of values that depend on the choices of a few groups.

    Attributes:
        groups: the groups that the value depends on; empty for a constant.
        values: one axis per group.
    """

    groups: tuple[int, ...]
    values: Values

    def read(self, choices_NG: ChoicesNG) -> Values:
        """The value of every architecture, (N,); a scalar if constant."""
        if not self.groups:
            return self.values
        index_N = choices_NG[:, self.groups[0]].astype(np.intp)
        for axis, group in enumerate(self.groups[1:], 1):
            index_N *= self.values.shape[axis]
            index_N += choices_NG[:, group]
        found_N: Values = self.values.ravel().take(index_N, mode="clip")
        return found_N


@dataclass(frozen=True)
class BlockTable:
    """A cost for every possible block at every position of a space.

    Attributes:
        space: the search space.
        positions: in the order of an architecture's blocks; a skipped layer has value 0.
    """

    space: SearchSpace
    positions: tuple[Lookup, ...]

    def sums(self, choices_NG: ChoicesNG) -> Values:
        """Sum over the blocks of each architecture, (N,).

        Raises:
            SpaceError: `choices_NG` is not of this space.
        """
        return self._reduce(choices_NG, np.add)

    def largest(self, choices_NG: ChoicesNG) -> Values:
        """Maximum over the blocks of each architecture, at least 0, (N,).

        Raises:
            SpaceError: `choices_NG` is not of this space.
        """
        return self._reduce(choices_NG, np.maximum)

    def _reduce(self, choices_NG: ChoicesNG, join: np.ufunc) -> Values:
        check_choices(self.space, choices_NG)
        kind = np.result_type(*(position.values for position in self.positions))
        total_N = np.zeros(len(choices_NG), dtype=kind)
        for part in chunks(len(choices_NG)):
            for position in self.positions:
                join(total_N[part], position.read(choices_NG[part]), out=total_N[part])
        return total_N


def chunks(count: int) -> Iterator[slice]:
    """Slices of CHUNK rows covering `count` rows."""
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def block_table(space: SearchSpace, cost: PositionCost) -> BlockTable:
    """Evaluate `cost` for every possible block at every position.

    Args:
        space: the search space.
        cost: of a block at a position; integers stay integers.
    """
    *possible, heads = space.possible()
    front = possible[: -len(space.layers)]  # resize and stem depend on the resolution alone
    fronts = [
        lookup([(0, len(blocks))], [cost(position, block) for block in blocks])
        for position, blocks in enumerate(front)
    ]
    sizes = [stem.out_size for stem in front[-1]]
    layers, last = _layers(space, cost, len(front), sizes)
    known = {(block.in_channels, block.size): block for block in heads}
    costs = [
        cost(len(possible), known[width, size]) for size in last.sizes for width in last.widths
    ]
    return BlockTable(space, (*fronts, *layers, lookup([(0, len(sizes)), last.axis], costs)))


def lookup(axes: Sequence[tuple[int, int]], values: Sequence[float]) -> Lookup:
    """Build a look-up table, dropping axes along which values are constant.

    Args:
        axes: per axis the group and its number of candidates.
        values: in row-major order of the axes.
    """
    table = np.array(values).reshape([size for _, size in axes])
    groups = [group for group, _ in axes]
    for axis in range(len(groups) - 1, -1, -1):
        first = table.take([0], axis)
        if (table == first).all():
            table = first.squeeze(axis)
            del groups[axis]
    return Lookup(tuple(groups), np.ascontiguousarray(table))


@dataclass(frozen=True)
class _Input:
    """Possible inputs of a layer: sizes by resolution, widths by the choice of `axis`."""

    sizes: Sequence[int]
    widths: Sequence[int]
    axis: tuple[int, int]


def _layers(
    space: SearchSpace, cost: PositionCost, first: int, sizes: Sequence[int]
) -> tuple[list[Lookup], _Input]:
    """Tables of the searched layers from position `first`, and the inputs of the head."""
    found: list[Lookup] = []
    numbers = {group.name: number for number, group in enumerate(space.groups)}
    read = _Input(sizes, [space.spec.stem.channels], (0, 1))  # the stem's width is fixed
    for position, layer in enumerate(space.layers, first):
        widths = space.spec.stages[layer.stage].channels
        width = numbers[f"stage{layer.stage + 1}.channels"], len(widths)
        pairs = product(read.widths, widths) if layer.first else zip(widths, widths, strict=True)
        shapes = [(*pair, size, layer.stride) for size, pair in product(read.sizes, [*pairs])]
        costs = [
            0 if option is None else cost(position, option.block(*shape))
            for shape in shapes
            for option in layer.menu.options
        ]
        before = [read.axis] if layer.first else []
        own = layer.group, len(layer.menu.options)
        found.append(lookup([(0, len(sizes)), *before, width, own], costs))
        read = _Input([-(-size // layer.stride) for size in read.sizes], widths, width)
    return found, read


def _empty(space: SearchSpace, count: int) -> ChoicesNG:
    """An array for choices: smallest integer type, column-major (contiguous per group)."""
    most = max(len(group.candidates) for group in space.groups)
    kind = np.min_scalar_type(most - 1)
    return np.empty((count, len(space.groups)), dtype=kind, order="F")
