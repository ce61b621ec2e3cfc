"""Uniformly random networks of a band of multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.space import SearchSpace

_CHUNK, _DRAWS = 10_000, 2_000
"""Networks per draw, and most draws."""


@dataclass(frozen=True)
class Band:
    """From a share of a budget to the budget itself, in multiply-accumulates."""

    budget: float
    least: float

    def __str__(self) -> str:
        return f"{self.least * self.budget:,.0f} to {self.budget:,.0f} multiply-accumulates"


def draw(space: SearchSpace, band: Band, count: int) -> list[Architecture]:
    """Different networks of the band, the first `count` of one fixed random order.

    Raises:
        ValueError: too few of the space's networks are in the band.
    """
    rng, cost = np.random.default_rng(0), flops.table(space)
    found: dict[Architecture, None] = {}
    for _ in range(_DRAWS):
        choices_NG = np.stack(
            [rng.integers(len(group.candidates), size=_CHUNK) for group in space.groups], axis=1
        )
        costs_N = cost(choices_NG.astype(np.uint16))
        within_N = (band.least * band.budget <= costs_N) & (costs_N <= band.budget)
        found |= dict.fromkeys(space.architecture(row) for row in choices_NG[within_N].tolist())
        if len(found) >= count:
            return list(found)[:count]
    raise ValueError(
        f"{len(found)} of {_CHUNK * _DRAWS:,} random networks of space '{space.name}' have {band}; "
        f"{count} are needed. Change --budget, --least or --networks."
    )
