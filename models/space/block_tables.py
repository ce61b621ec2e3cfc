"""Vectorised costs of millions of architectures, from look-up tables of block costs.

The block at a position depends on few groups: its own, its stage's width, for a stage's first
layer the previous width, and the scale where resolution or strides are searched. Every other layer
has equal input and output widths, whichever layers before it are skipped. So a block's cost is an
entry of a small table, and a network's cost is a sum or a maximum of look-ups, equal to that of
`models.space.costs` bit for bit because blocks are added in the same order.

An architecture is given by its candidate index in every group (`SearchSpace.choices`).
Axes: N architectures, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from models.space.architecture import Block
from models.space.space import SearchSpace
from models.space.spec import SpaceError

ChoicesNG = npt.NDArray[np.unsignedinteger[Any]]
Values = npt.NDArray[Any]
PositionCost = Callable[[int, Block], float]
"""Cost of a block at a position; positions are those of `Architecture.blocks`."""

CHUNK = 1 << 14
"""Architectures per chunk, so that intermediate arrays fit into the CPU cache."""


def check_choices(space: SearchSpace, choices_NG: ChoicesNG) -> None:
    """Check that an array holds choices of this space.

    Raises:
        SpaceError: the shape, type or a candidate index is invalid.
    """
    sizes = np.array([len(group.candidates) for group in space.groups])
    fits = choices_NG.dtype.kind in "ui" and choices_NG.shape == (len(choices_NG), len(sizes))
    if not fits or (choices_NG < 0).any() or (choices_NG >= sizes).any():
        raise SpaceError(
            f"choices of space '{space.name}' must be integers (N, {len(sizes)}) below the groups' "
            f"numbers of candidates, {sizes.tolist()}."
        )


@dataclass(frozen=True)
class Lookup:
    """A table of values that depend on the choices of a few groups; of none for a constant."""

    groups: tuple[int, ...]
    values: Values
    """One axis per group."""

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
    """A cost for every possible block at every position of an architecture; 0 for a skipped one."""

    space: SearchSpace
    positions: tuple[Lookup, ...]

    def join(self, choices_NG: ChoicesNG, by: np.ufunc = np.add) -> Values:
        """Sum, or maximum with 0, over the blocks of each architecture, (N,)."""
        check_choices(self.space, choices_NG)
        kind = np.result_type(*(position.values for position in self.positions))
        total_N = np.zeros(len(choices_NG), dtype=kind)
        for part in chunks(len(choices_NG)):
            for position in self.positions:
                by(total_N[part], position.read(choices_NG[part]), out=total_N[part])
        return total_N


def chunks(count: int) -> Iterator[slice]:
    """Slices of CHUNK rows covering `count` rows."""
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def block_table(space: SearchSpace, cost: PositionCost) -> BlockTable:
    """Evaluate `cost` for every possible block at every position; integers stay integers."""
    scales = (0, len(space.fronts))
    positions = [
        lookup([scales], [cost(position, block) for block in blocks])
        for position, blocks in enumerate(zip(*space.fronts, strict=True))
    ]
    for layer in space.layers:
        costs = [
            0 if option is None else cost(len(positions), option.block(*pair, *scaled))
            for scaled, pair in product(zip(layer.sizes, layer.strides, strict=True), layer.pairs)
            for option in layer.menu.options
        ]
        axes = [
            (group, len(space.groups[group].candidates))
            for group in (layer.before, layer.width, layer.group)
            if group is not None
        ]
        positions.append(lookup([scales, *axes], costs))
    widths, last = space.spec.stages[-1].channels, space.layers[-1]
    costs = [
        cost(len(positions), space.head(width, size))
        for size, width in product(last.out_sizes, widths)
    ]
    positions.append(lookup([scales, (last.width, len(widths))], costs))
    return BlockTable(space, tuple(positions))


def lookup(axes: Sequence[tuple[int, int]], values: Sequence[float]) -> Lookup:
    """Build a look-up table, dropping axes along which values are constant.

    An axis is a group and its number of candidates; `values` are in row-major order.
    """
    table = np.array(values).reshape([size for _, size in axes])
    groups = [group for group, _ in axes]
    for axis in range(len(groups) - 1, -1, -1):
        first = table.take([0], axis)
        if (table == first).all():
            table = first.squeeze(axis)
            del groups[axis]
    return Lookup(tuple(groups), np.ascontiguousarray(table))
