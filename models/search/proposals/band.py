"""The cost band of a device: networks that use nearly all of the tightest budget.

The RATIO of a network is the largest of its costs, each divided by its budget. A network is in the
band [low, high] if its ratio is. Without budgets every network has the
ratio 1.

Axes: N architectures, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from models.search.problem import Scores, as_choices
from models.space.block_tables import ChoicesNG
from models.space.distribution import Choices, Vector
from models.space.groups import Group
from models.space.limits import Limit
from models.space.space import SearchSpace

LOW = 0.9
"""Lower end of a band, as a share of its upper end."""
_DRAWS = tuple(64 << step for step in range(10))
"""Uniform draws in each batch; after them random walks replace rejection."""
_CHAINS, _WALKS, _STEPS = (64, 1024), 2, 30
"""Parallel random walks at least and at most, repetitions, and steps per group of the space."""
_ENUMERATED = 1 << 16
"""Spaces of at most so many architectures are enumerated."""
_PAIRS = 3000
"""Changes of two groups at once that a climb tries; all of them where there are no more."""


@dataclass(frozen=True)
class Band:
    """A band of costs; values and callables only.

    Attributes:
        groups: of the space.
        ratios: of many architectures, choices (N, G) to (N,).
        low: smallest ratio in the band.
        high: largest ratio in the band.
    """

    groups: tuple[Group, ...]
    ratios: Scores
    low: float
    high: float

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of candidates per group, (G,)."""
        return np.array([len(group.candidates) for group in self.groups], dtype=np.int64)

    def distances(self, choices_NG: ChoicesNG) -> Vector:
        """How far the ratios are from the band, (N,); 0 inside."""
        ratios_N = self.ratios(choices_NG)
        return np.maximum(0.0, np.maximum(self.low - ratios_N, ratios_N - self.high))

    def contains(self, choices: Choices) -> bool:
        """Whether an architecture is in the band."""
        return float(self.distances(as_choices([choices]))[0]) <= 0

    def sample(self, rng: np.random.Generator, count: int) -> list[Choices]:
        """Up to `count` distinct, uniformly random architectures of the band.

        Fewer only where no more are found. Small spaces are enumerated. Of others, uniform draws
        are rejected outside the band. Where too few remain, random walks start from uniform draws
        and accept a random change of one or two groups if the distance from the band does not grow:
        inside the band the changes are symmetric, so that the walks' distribution is uniform over
        what they can reach.
        """
        if np.prod(self.sizes, dtype=np.float64) <= _ENUMERATED:
            return [self._members[at] for at in rng.permutation(len(self._members))[:count]]
        found: dict[Choices, None] = {}
        for draws in _DRAWS:
            self._keep(self._draw(rng, draws), found)
            if len(found) >= count:
                return list(found)[:count]
        for _ in range(_WALKS):
            chains = min(max(2 * (count - len(found)), _CHAINS[0]), _CHAINS[1])
            self._keep(self.walk(rng, chains), found)
            if len(found) >= count:
                break
        return list(found)[:count]

    def walk(self, rng: np.random.Generator, chains: int) -> ChoicesNG:
        """Where random walks from uniform draws end, (chains, G); those outside are stuck."""
        here_NG, rows, all_N = self._draw(rng, chains), np.arange(chains), np.ones(chains, bool)
        far_N = self.distances(here_NG)
        for _ in range(_STEPS * len(self.groups)):
            there_NG = here_NG.copy()
            groups_N = rng.integers(len(self.groups), size=(2, chains))
            second_N = rng.random(chains) < 0.5
            for changed_N, moved_N in zip(groups_N, (all_N, second_N), strict=True):
                options_N = rng.integers(self.sizes[changed_N]).astype(np.uint32)
                there_NG[rows[moved_N], changed_N[moved_N]] = options_N[moved_N]
            there_N = self.distances(there_NG)
            accepted_N = there_N <= far_N
            here_NG[accepted_N], far_N[accepted_N] = there_NG[accepted_N], there_N[accepted_N]
        return here_NG

    def climb(
        self, start: Choices, score: Scores, rng: np.random.Generator, pairs: int = _PAIRS
    ) -> Choices | None:
        """A local maximum of a score within the band; None where the band is not reached.

        The best change of one group, or where none improves of two, is taken until none does.

        Args:
            start: any architecture; outside the band the distance is reduced first.
            score: of many architectures, choices (N, G) to (N,).
            rng: of the pairs, where there are more than `pairs`.
            pairs: changes of two groups that are tried at most in a step.
        """
        here, best = start, self._value(as_choices([start]), score)[0]
        while True:
            for width in (1, 2):
                there_NG = self._single(here) if width == 1 else self._pairs(here, rng, pairs)
                values_N = self._value(there_NG, score) if len(there_NG) else np.zeros((0, 2))
                at = max(range(len(values_N)), key=lambda n: tuple(values_N[n]), default=None)
                if at is not None and tuple(values_N[at]) > tuple(best):
                    here, best = as_tuple(there_NG[at]), values_N[at]
                    break
            else:
                return here if best[0] >= 0 else None

    def _value(self, choices_NG: ChoicesNG, score: Scores) -> Vector:
        """Negative distance, then score: (N, 2)."""
        return np.stack([-self.distances(choices_NG), score(choices_NG)], axis=1)

    @cached_property
    def _members(self) -> list[Choices]:
        """All architectures of the band."""
        rows_NG = (
            np.indices(tuple(self.sizes.tolist())).reshape(len(self.sizes), -1).T.astype(np.uint32)
        )
        found: dict[Choices, None] = {}
        self._keep(rows_NG, found)
        return list(found)

    def _draw(self, rng: np.random.Generator, count: int) -> ChoicesNG:
        draws_NG = rng.integers(self.sizes, size=(count, len(self.groups)))
        return draws_NG.astype(np.uint32)

    def _keep(self, choices_NG: ChoicesNG, found: dict[Choices, None]) -> None:
        inside_N = self.distances(choices_NG) <= 0
        found.update((as_tuple(row), None) for row in choices_NG[inside_N])

    @cached_property
    def _changes(self) -> npt.NDArray[np.int64]:
        """Group and option of every change of one group: (changes, 2)."""
        rows = [(g, option) for g, size in enumerate(self.sizes) for option in range(size)]
        return np.array(rows, dtype=np.int64)

    def _single(self, here: Choices) -> ChoicesNG:
        changes = self._changes[np.array(here)[self._changes[:, 0]] != self._changes[:, 1]]
        return _changed(here, changes)

    def _pairs(self, here: Choices, rng: np.random.Generator, most: int) -> ChoicesNG:
        changes = self._changes[np.array(here)[self._changes[:, 0]] != self._changes[:, 1]]
        first, second = np.triu_indices(len(changes), 1)
        apart = changes[first, 0] != changes[second, 0]
        first, second = first[apart], second[apart]
        if len(first) > most:
            some = np.sort(rng.choice(len(first), most, replace=False))
            first, second = first[some], second[some]
        return _changed(here, changes[first], changes[second])


def _changed(here: Choices, *changes: npt.NDArray[np.int64]) -> ChoicesNG:
    """One architecture per row of `changes` (group, option): `here` with these options."""
    there_NG = np.tile(np.array(here, dtype=np.uint32), (len(changes[0]), 1))
    for change in changes:
        there_NG[np.arange(len(change)), change[:, 0]] = change[:, 1]
    return there_NG


def as_tuple(row_G: npt.NDArray[np.unsignedinteger[Any]]) -> Choices:
    """One row of an array of choices."""
    return tuple(int(choice) for choice in row_G)


def ratio_table(space: SearchSpace, limits: Sequence[Limit]) -> Scores:
    """The ratios of many architectures; 1 without limits."""
    tables = [(limit.cost.table(space), limit.budget) for limit in limits]

    def ratios(choices_NG: ChoicesNG) -> Vector:
        if not tables:
            return np.ones(len(choices_NG))
        ratios_N: Vector = np.max([table(choices_NG) / budget for table, budget in tables], axis=0)
        return ratios_N

    return ratios


def band_of(
    space: SearchSpace, limits: Sequence[Limit], rng: np.random.Generator, low: float = LOW
) -> Band | None:
    """The band [low, 1] of the tightest budget, or the highest one that the space reaches.

    Where no network is found in [low, 1] because the largest network leaves more of the budgets
    free, the band is [low, 1] times the largest ratio found. None if no network was found within
    the budgets.
    """
    ratios = ratio_table(space, limits)
    band = Band(space.groups, ratios, low, 1.0)
    if not limits or band.sample(rng, 1):
        return band
    within = Band(space.groups, ratios, 0.0, 1.0)
    starts = within.sample(rng, 4)
    climbed = [within.climb(start, ratios, rng) for start in starts]
    tops = [float(ratios(as_choices([end]))[0]) for end in climbed if end is not None]
    return Band(space.groups, ratios, low * max(tops), max(tops)) if tops else None
