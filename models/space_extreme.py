"""The cheapest and the dearest architecture of a space, exactly and without enumerating it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from models.architecture import Block
from models.space_groups import Layer, Menu

BlockCost = Callable[[Block], float]
Best = dict[int, tuple[float, tuple[int, ...]]]
"""Per width that the layers so far may end in: the best cost, and the choices that give it."""


class Extreme:
    """A dynamic programme over (stage, width).

    The layers of a stage depend on each other only through channels and size, so the best way to
    each width of a stage is the best way to one of the stage's before it and the best candidate
    in every layer. This is exact for costs that add up over blocks, and for the largest one of
    any block.

    Args:
        cost: of one block.
        largest: whether the dearest is looked for.
        peak: whether a network costs what its dearest block does, not the sum.
    """

    def __init__(self, cost: BlockCost, largest: bool, peak: bool) -> None:
        self._cost, self._sign = cost, -1.0 if largest else 1.0
        self._join: Callable[[float, float], float] = _add
        self._nothing = 0.0
        if peak:
            # Signs are turned for the dearest, so that the least number is always the best.
            self._join, self._nothing = (min, math.inf) if largest else (max, -math.inf)
        self._known: dict[tuple[Menu, int, int, int, int], tuple[float, int]] = {}

    def total(self, blocks: Iterable[Block], before: float | None = None) -> float:
        """The signed cost of blocks that follow what costs `before`."""
        total = self._nothing if before is None else before
        for block in blocks:
            total = self._join(total, self._sign * self._cost(block))
        return total

    def stage(
        self, best: Best, layers: Sequence[Layer], widths: Sequence[int], size: int
    ) -> tuple[Best, int]:
        """What is best after one more stage, whose input has `size` pixels; its output's size."""
        after: Best = {}
        for number, width in enumerate(widths):
            for before, (total, taken) in best.items():
                channels, here, picked = before, size, []
                for layer in layers:
                    price, choice = self._layer(layer, channels, width, here)
                    total, channels = self._join(total, price), width
                    here = -(-here // layer.stride)
                    picked.append(choice)
                row = (total, (*taken, number, *picked))
                if width not in after or row < after[width]:
                    after[width] = row
        return after, -(-size // layers[0].stride)

    def _layer(self, layer: Layer, channels: int, width: int, size: int) -> tuple[float, int]:
        """The best candidate of a layer and its signed cost; ties go to the first."""
        key = (layer.menu, layer.stride, channels, width, size)
        if key not in self._known:
            self._known[key] = min(
                (
                    self._nothing
                    if option is None
                    else self._sign * self._cost(option.block(channels, width, size, layer.stride)),
                    choice,
                )
                for choice, option in enumerate(layer.menu.options)
            )
        return self._known[key]


def _add(total: float, price: float) -> float:
    return total + price
