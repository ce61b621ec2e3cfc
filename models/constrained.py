"""Architectures within limits: one at random, and the most probable one.

Limits are seen through one number, `excess(choices)`: 0 within all limits, otherwise by how
much they are passed (several add up). Nothing is assumed of it but that small changes of an
architecture change it little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice

import numpy as np

from models.distribution import Choices, Distribution
from models.space import Group

Excess = Callable[[Choices], float]


def random_within(
    groups: Sequence[Group], excess: Excess, rng: np.random.Generator, attempts: int = 20
) -> Choices | None:
    """A random architecture within the limits, or None when no attempt ends within them."""
    found, over = nearest_within(groups, excess, rng, attempts)
    return found if over <= 0 else None


def nearest_within(
    groups: Sequence[Group], excess: Excess, rng: np.random.Generator, attempts: int = 20
) -> tuple[Choices, float]:
    """A random architecture within the limits, or the nearest one seen, and its excess.

    Each attempt draws uniformly and, while the limits are passed, moves to a random neighbour
    that passes them less: this finds its way into corners that rejection would never hit.
    """
    nearest: tuple[float, Choices] | None = None
    for _ in range(attempts):
        start = tuple(int(rng.integers(len(group.candidates))) for group in groups)
        found = descend(groups, start, excess, rng)
        over = excess(found)
        if over <= 0:
            return found, 0.0
        nearest = (over, found) if nearest is None else min(nearest, (over, found))
    assert nearest is not None
    return nearest[1], nearest[0]


def descend(
    groups: Sequence[Group],
    start: Choices,
    excess: Excess,
    rng: np.random.Generator,
    allowed: Sequence[Sequence[int]] | None = None,
) -> Choices:
    """Walk from `start` into the limits, or as near as random improving changes lead.

    Args:
        groups: of the space.
        start: where the walk begins.
        excess: of the limits.
        rng: of the changes.
        allowed: candidates per group that the walk may change to; None allows all.
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


def most_probable(
    distribution: Distribution,
    excess: Excess,
    known: Iterable[Choices] = (),
    pops: int = 5000,
) -> Choices | None:
    """The most probable architecture within the limits, or None when none is found.

    Architectures are visited from the most probable on; the first one within the limits is the
    exact answer. Where `pops` visits find none (the limits exclude what the distribution likes),
    the answer is the best local optimum: the mode, mended by the changes that cost the least
    probability per unit of excess removed, and the `known` architectures within the limits, each
    improved by single and paired changes while any makes it more probable.
    """
    for choices in islice(distribution.by_probability(), pops):
        if excess(choices) <= 0:
            return choices
    mended = _mend(distribution, next(distribution.by_probability()), excess)
    within = sorted({c for c in known if excess(c) <= 0}, key=_order(distribution))
    starts = ([mended] if mended is not None else []) + within[:1]
    climbed = [_climb(distribution, start, excess) for start in starts]
    return min(climbed, key=_order(distribution), default=None)


def _mend(distribution: Distribution, start: Choices, excess: Excess) -> Choices | None:
    here, over = start, excess(start)
    while over > 0:
        likely = distribution.log_prob(here)
        best: tuple[float, Choices] | None = None
        for there in _changes(distribution.groups, here, 1):
            gain = over - excess(there)
            if gain > 0:
                row = ((likely - distribution.log_prob(there)) / gain, there)
                best = row if best is None else min(best, row)
        if best is None:
            return None
        here, over = best[1], excess(best[1])
    return here


def _climb(distribution: Distribution, start: Choices, excess: Excess) -> Choices:
    here, likely = start, distribution.log_prob(start)
    improved = True
    while improved:
        improved = False
        for width in (1, 2):
            # Probability first: it is a look-up, the limits need the whole architecture.
            better = [
                (-value, there)
                for there in _changes(distribution.groups, here, width)
                if (value := distribution.log_prob(there)) > likely + 1e-12
            ]
            step = next((row for row in sorted(better) if excess(row[1]) <= 0), None)
            if step is not None:
                likely, here, improved = -step[0], step[1], True
                break
    return here


def _changes(
    groups: Sequence[Group],
    choices: Choices,
    width: int,
    allowed: Sequence[Sequence[int]] | None = None,
) -> Iterator[Choices]:
    """Every architecture that differs from `choices` in exactly `width` groups."""
    known = allowed or [range(len(group.candidates)) for group in groups]
    for changed in combinations(range(len(groups)), width):
        rows = [choices]
        for group in changed:
            others = [c for c in known[group] if c != choices[group]]
            rows = [(*row[:group], other, *row[group + 1 :]) for row in rows for other in others]
        yield from rows


def _order(distribution: Distribution) -> Callable[[Choices], tuple[float, Choices]]:
    """Sort key: most probable first, ties in a fixed order."""
    return lambda choices: (-distribution.log_prob(choices), choices)


__all__ = ["Excess", "descend", "most_probable", "nearest_within", "random_within"]
