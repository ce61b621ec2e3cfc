"""Uniformly random networks of a band of multiply-accumulates."""

from __future__ import annotations

import numpy as np

from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.space import SearchSpace

_CHUNK, _DRAWS = 10_000, 2_000
"""Networks per draw, and most draws."""


def draw(space: SearchSpace, low: float, high: float, count: int) -> list[Architecture]:
    """Different networks of `low` to `high` multiply-accumulates.

    They are the first of one fixed random order, by rejection alone: exactly uniform, and fewer are
    the first of more.

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
        within_N = (low <= costs_N) & (costs_N <= high)
        for choices in choices_NG[within_N].tolist():
            found[space.architecture(choices)] = None
            if len(found) == count:
                return list(found)
    raise ValueError(
        f"{len(found)} of {_CHUNK * _DRAWS:,} random networks of space '{space.name}' have "
        f"{low:,.0f} to {high:,.0f} multiply-accumulates; {count} are needed. Change --budget, "
        "--least or --networks."
    )
