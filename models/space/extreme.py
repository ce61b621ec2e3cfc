"""The architecture of a space with the smallest or largest cost, by dynamic programming."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence

from models.space.architecture import Block
from models.space.groups import Layer, Menu

BlockCost = Callable[[Block], float]
Best = dict[int, tuple[float, tuple[int, ...]]]
"""Per output width of the layers so far: the best cost and its choices."""


class Extreme:
    """A dynamic programme over (stage, width).

    Layers depend on each other only through channels and size, so the optimum for each width of a
    stage combines the optimum for a width of the previous stage with the best candidate of every
    layer. This is exact for sums and, with `peak`, maxima over blocks.
    """

    def __init__(self, cost: BlockCost, largest: bool, peak: bool) -> None:
        self._cost, self._sign = cost, -1.0 if largest else 1.0
        self._join: Callable[[float, float], float] = operator.add
        self._nothing = 0.0
        if peak:
            # Costs are negated to maximise, so that the smallest value is always the best.
            self._join, self._nothing = (min, math.inf) if largest else (max, -math.inf)
        self._known: dict[tuple[Menu, int, int, int, int], tuple[float, int]] = {}

    def total(self, blocks: Iterable[Block], before: float | None = None) -> float:
        """Signed cost of `blocks` added to the signed cost `before`."""
        total = self._nothing if before is None else before
        for block in blocks:
            total = self._join(total, self._sign * self._cost(block))
        return total

    def stage(self, best: Best, layers: Sequence[Layer], widths: Sequence[int], scale: int) -> Best:
        """Extend `best` by a stage, for the scale with this index."""
        after: Best = {}
        for number, width in enumerate(widths):
            for before, (total, taken) in best.items():
                channels, picked = before, []
                for layer in layers:
                    cost, choice = self._layer(layer, channels, width, scale)
                    total, channels = self._join(total, cost), width
                    picked.append(choice)
                row = (total, (*taken, number, *picked))
                if width not in after or row < after[width]:
                    after[width] = row
        return after

    def _layer(self, layer: Layer, channels: int, width: int, scale: int) -> tuple[float, int]:
        """The best candidate of a layer and its signed cost; ties go to the first."""
        size, stride = layer.sizes[scale], layer.strides[scale]
        key = (layer.menu, stride, channels, width, size)
        if key not in self._known:
            self._known[key] = min(
                (
                    self._nothing
                    if option is None
                    else self._sign * self._cost(option.block(channels, width, size, stride)),
                    choice,
                )
                for choice, option in enumerate(layer.menu.options)
            )
        return self._known[key]
