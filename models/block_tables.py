"""What millions of architectures cost, from tables of what each choice costs.

Which block stands at a position depends on few groups: its own, its stage's width, for a stage's
first layer the width before, and the resolution where it is searched. Every other layer reads the
width that it writes, whatever was skipped before it. So a block's cost is an entry of a small
table, and a network's is a sum, or a maximum, of look-ups: exactly what `models.costs` computes
block by block, in the same order, so that not even floats differ.

An architecture is here its candidate in every group, as `SearchSpace.choices` says.
Axes: N architectures, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from models.architecture import Architecture, Block
from models.space import SearchSpace, SpaceError

ChoicesNG = npt.NDArray[np.unsignedinteger[Any]]
Values = npt.NDArray[Any]
PositionCost = Callable[[int, Block], float]
"""What a block costs at a position, counted as in `Architecture.blocks`."""

CHUNK = 1 << 14
"""Architectures at a time: what is computed on the way stays in the processor's cache."""


def sample_choices(space: SearchSpace, count: int, rng: np.random.Generator) -> ChoicesNG:
    """Uniformly random architectures, as `SearchSpace.sample` draws them, (N, G)."""
    choices_NG = _empty(space, count)
    for group, here in enumerate(space.groups):
        choices_NG[:, group] = rng.integers(len(here.candidates), size=count, dtype=np.int32)
    return choices_NG


def numbered_choices(space: SearchSpace, start: int, stop: int) -> ChoicesNG:
    """The architectures with the numbers from `start` to before `stop`, (N, G).

    Raises:
        SpaceError: there are no such numbers.
    """
    if not 0 <= start <= stop <= space.count():
        raise SpaceError(
            f"space '{space.name}' has the numbers 0 to {space.count() - 1}, not {start} to "
            f"{stop - 1}."
        )
    choices_NG = _empty(space, stop - start)
    carry_N = np.arange(stop - start, dtype=np.int64)
    for group in range(len(space.groups) - 1, -1, -1):
        radix = len(space.groups[group].candidates)
        start, digit = divmod(start, radix)  # a number of a large space fits no array
        carry_N, choices_NG[:, group] = np.divmod(carry_N + digit, radix)
    return choices_NG


def choices_of(space: SearchSpace, architectures: Iterable[Architecture]) -> ChoicesNG:
    """The choices of some architectures, (N, G).

    Raises:
        SpaceError: one of them is not in the space.
    """
    rows = [space.choices(architecture) for architecture in architectures]
    choices_NG = _empty(space, len(rows))
    if rows:
        choices_NG[:] = rows
    return choices_NG


def check_choices(space: SearchSpace, choices_NG: ChoicesNG) -> None:
    """Refuse an array that is not of this space.

    Raises:
        SpaceError: its shape or type is another, or a group has no such candidate.
    """
    sizes = [len(group.candidates) for group in space.groups]
    if (
        choices_NG.ndim != 2
        or choices_NG.shape[1] != len(sizes)
        or choices_NG.dtype.kind not in "ui"
    ):
        raise SpaceError(
            f"choices of space '{space.name}' are whole numbers of shape (N, {len(sizes)}), not "
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
    """The values of one position, or of whatever else a few groups decide.

    Attributes:
        groups: whose choices decide; none where the value is always the same.
        values: one axis a group.
    """

    groups: tuple[int, ...]
    values: Values

    def read(self, choices_NG: ChoicesNG) -> Values:
        """The value of every architecture, (N,), or one value for all of them."""
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
    """One value for every block that a space may put at every position.

    Attributes:
        space: the networks it is about.
        positions: in the order of an architecture's blocks; a skip's value is 0.
    """

    space: SearchSpace
    positions: tuple[Lookup, ...]

    def sums(self, choices_NG: ChoicesNG) -> Values:
        """The sum over each architecture's blocks, (N,).

        Raises:
            SpaceError: `choices_NG` is not of this space.
        """
        return self._reduced(choices_NG, np.add)

    def largest(self, choices_NG: ChoicesNG) -> Values:
        """The largest of each architecture's blocks, at least 0, (N,).

        Raises:
            SpaceError: `choices_NG` is not of this space.
        """
        return self._reduced(choices_NG, np.maximum)

    def _reduced(self, choices_NG: ChoicesNG, join: np.ufunc) -> Values:
        check_choices(self.space, choices_NG)
        kind = np.result_type(*(position.values for position in self.positions))
        total_N = np.zeros(len(choices_NG), dtype=kind)
        for part in chunks(len(choices_NG)):
            for position in self.positions:
                join(total_N[part], position.read(choices_NG[part]), out=total_N[part])
        return total_N


def chunks(count: int) -> Iterator[slice]:
    """Slices of CHUNK rows that cover `count` rows."""
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def block_table(space: SearchSpace, cost: PositionCost) -> BlockTable:
    """Ask the cost of every block that some architecture has, at its position.

    Args:
        space: the architectures.
        cost: of a block at a position; whole numbers stay whole.
    """
    *possible, heads = space.possible()
    front = possible[: -len(space.layers)]  # resize and stem, which the resolution decides
    fronts = [
        lookup([(0, len(blocks))], [cost(position, block) for block in blocks])
        for position, blocks in enumerate(front)
    ]
    sizes = [stem.out_size for stem in front[-1]]
    layers, last = _layers(space, cost, len(front), sizes)
    known = {(block.in_channels, block.size): block for block in heads}
    prices = [
        cost(len(possible), known[width, size]) for size in last.sizes for width in last.widths
    ]
    return BlockTable(space, (*fronts, *layers, lookup([(0, len(sizes)), last.axis], prices)))


def lookup(axes: Sequence[tuple[int, int]], values: Sequence[float]) -> Lookup:
    """A look-up without the axes along which nothing changes.

    Args:
        axes: per axis the group that decides and how many choices it has.
        values: in the order of the choices' products; the last axis changes fastest.
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
    """What a layer may read: sizes by resolution, widths by the choice that `axis` is."""

    sizes: Sequence[int]
    widths: Sequence[int]
    axis: tuple[int, int]


def _layers(
    space: SearchSpace, cost: PositionCost, first: int, sizes: Sequence[int]
) -> tuple[list[Lookup], _Input]:
    """The searched layers from position `first` on, and what the head may read."""
    found: list[Lookup] = []
    numbers = {group.name: number for number, group in enumerate(space.groups)}
    read = _Input(sizes, [space.spec.stem.channels], (0, 1))  # the stem's width is no choice
    for position, layer in enumerate(space.layers, first):
        widths = space.spec.stages[layer.stage].channels
        width = numbers[f"stage{layer.stage + 1}.channels"], len(widths)
        pairs = product(read.widths, widths) if layer.first else zip(widths, widths, strict=True)
        shapes = [(*pair, size, layer.stride) for size, pair in product(read.sizes, [*pairs])]
        prices = [
            0 if option is None else cost(position, option.block(*shape))
            for shape in shapes
            for option in layer.menu.options
        ]
        before = [read.axis] if layer.first else []
        own = layer.group, len(layer.menu.options)
        found.append(lookup([(0, len(sizes)), *before, width, own], prices))
        read = _Input([-(-size // layer.stride) for size in read.sizes], widths, width)
    return found, read


def _empty(space: SearchSpace, count: int) -> ChoicesNG:
    """An array for choices in as few bytes as the largest group needs, a group after the other."""
    most = max(len(group.candidates) for group in space.groups)
    kind = np.min_scalar_type(most - 1)
    return np.empty((count, len(space.groups)), dtype=kind, order="F")


__all__ = [
    "BlockTable",
    "ChoicesNG",
    "Lookup",
    "block_table",
    "check_choices",
    "choices_of",
    "chunks",
    "lookup",
    "numbered_choices",
    "sample_choices",
]
