"""Architectures under constraints: random sampling and the most probable one.

Constraints are given as `excess(choices)`, the total constraint violation: 0 if all hold. It is
assumed only that small changes of an architecture change it little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice

import numpy as np

from models.space.distribution import Choices, Distribution
from models.space.groups import Group

Excess = Callable[[Choices], float]


def nearest_within(
    groups: Sequence[Group], excess: Excess, rng: np.random.Generator, attempts: int = 20
) -> tuple[Choices, float]:
    """A random feasible architecture, or the one with the smallest excess found, and its excess.

    Each attempt draws uniformly and, while constraints are violated, moves to a random neighbour
    with a smaller excess. This reaches feasible regions too small for rejection sampling.
    """
    found: list[tuple[float, Choices]] = []
    while len(found) < attempts and (not found or found[-1][0] > 0):
        start = tuple(int(rng.integers(len(group.candidates))) for group in groups)
        reached = descend(groups, start, excess, rng)
        found.append((excess(reached), reached))
    over, nearest = min(found)
    return nearest, over


def descend(
    groups: Sequence[Group],
    start: Choices,
    excess: Excess,
    rng: np.random.Generator,
    allowed: Sequence[Sequence[int]] | None = None,
) -> Choices:
    """Reduce the excess of `start` by random improving changes until feasible or stuck.

    Of every group only the candidates in `allowed` may be chosen; None allows all.
    """
    here, over = start, excess(start)
    while over > 0:
        neighbours = list(_changes(groups, here, 1, allowed))
        for number in rng.permutation(len(neighbours)):
            there = excess(neighbours[number])
            if there < over:
                here, over = neighbours[number], there
                break
        else:
            break
    return here


def sample_within(
    distribution: Distribution, excess: Excess, rng: np.random.Generator, tries: int = 100
) -> Choices:
    """Draw from a distribution conditioned on feasibility, by rejection.

    Where `tries` draws in a row are infeasible, the last one is repaired by `descend`: a sample
    near the distribution, no longer from it, and infeasible if that is stuck.
    """
    for _ in range(tries):
        drawn = distribution.sample(rng)
        if excess(drawn) <= 0:
            return drawn
    return descend(distribution.groups, drawn, excess, rng)


def most_probable(
    distribution: Distribution,
    excess: Excess,
    known: Iterable[Choices] = (),
    pops: int = 5000,
) -> Choices | None:
    """The most probable feasible architecture, or None if none is found.

    Architectures are visited by decreasing probability; the first feasible one is exact. If none
    of the first `pops` is feasible, the result is the best local optimum of a hill climb by single
    and paired changes. It starts from the mode, repaired by the changes that lose the least
    log-probability per unit of excess removed, and from the best feasible one of `known`.
    """
    for choices in islice(distribution.by_probability(), pops):
        if excess(choices) <= 0:
            return choices
    repaired = _repair(distribution, next(distribution.by_probability()), excess)
    within = sorted({c for c in known if excess(c) <= 0}, key=_order(distribution))
    starts = ([repaired] if repaired is not None else []) + within[:1]
    climbed = [_climb(distribution, start, excess) for start in starts]
    return min(climbed, key=_order(distribution), default=None)


def _repair(distribution: Distribution, start: Choices, excess: Excess) -> Choices | None:
    here = start
    while (over := excess(here)) > 0:
        likely = distribution.log_prob(here)
        steps = [
            ((likely - distribution.log_prob(there)) / gain, there)
            for there in _changes(distribution.groups, here, 1)
            if (gain := over - excess(there)) > 0
        ]
        if not steps:
            return None
        here = min(steps)[1]
    return here


def _climb(distribution: Distribution, here: Choices, excess: Excess) -> Choices:
    likely = distribution.log_prob(here)
    while True:
        for width in (1, 2):
            # Probability first: it is cheaper to evaluate than the constraints.
            better = [
                (-value, there)
                for there in _changes(distribution.groups, here, width)
                if (value := distribution.log_prob(there)) > likely + 1e-12
            ]
            step = next((row for row in sorted(better) if excess(row[1]) <= 0), None)
            if step is not None:
                likely, here = -step[0], step[1]
                break
        else:
            return here


def _changes(
    groups: Sequence[Group],
    choices: Choices,
    width: int,
    allowed: Sequence[Sequence[int]] | None = None,
) -> Iterator[Choices]:
    """All architectures that differ from `choices` in exactly `width` groups."""
    known = allowed or [range(len(group.candidates)) for group in groups]
    for changed in combinations(range(len(groups)), width):
        rows = [choices]
        for group in changed:
            others = [c for c in known[group] if c != choices[group]]
            rows = [(*row[:group], other, *row[group + 1 :]) for row in rows for other in others]
        yield from rows


def _order(distribution: Distribution) -> Callable[[Choices], tuple[float, Choices]]:
    """Sort key: decreasing probability, deterministic for ties."""
    return lambda choices: (-distribution.log_prob(choices), choices)
