"""Proposals that need no training and no supernet: by cost alone, within a device's budgets.

All networks lie in the device's band (`models.search.proposals.band`): [low, 1] of its tightest
budget, or of the largest cost that the space reaches. The results depend only on the arguments and
the generator's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.search.problem import Scores, as_choices
from models.search.proposals.band import LOW, Band, band_of
from models.search.proposals.numbers import layers
from models.space.architecture import Architecture
from models.space.block_tables import ChoicesNG
from models.space.costs import flops
from models.space.distribution import Choices, Vector
from models.space.limits import Limit
from models.space.space import SearchSpace

_STARTS = 6
"""Random starts of a local search."""
_WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Costs of a layer, as shares of the budget: the networks with the smallest cost minus these per
layer are deep and small starts."""


def band_sample(
    space: SearchSpace, limits: Sequence[Limit], rng: np.random.Generator, low: float = LOW
) -> Architecture | None:
    """A uniformly random architecture of the band; None if no network is within the budgets."""
    return next(iter(band_samples(space, limits, rng, 1, low)), None)


def band_samples(
    space: SearchSpace,
    limits: Sequence[Limit],
    rng: np.random.Generator,
    count: int,
    low: float = LOW,
) -> list[Architecture]:
    """Up to `count` distinct, uniformly random architectures of the band."""
    band = band_of(space, limits, rng, low)
    return [] if band is None else [space.architecture(c) for c in band.sample(rng, count)]


def largest(
    space: SearchSpace, limits: Sequence[Limit], rng: np.random.Generator, low: float = LOW
) -> Architecture | None:
    """The architecture of the band with the most multiply-accumulates, by local search.

    The exact maximum where the space's largest network is within the budgets.
    """
    band = band_of(space, limits, rng, low)
    if band is None:
        return None
    macs = flops.table(space)
    biggest = space.choices(space.extreme(flops.block, largest=True))
    if band.contains(biggest):
        return space.architecture(biggest)
    return _best(space, band, [biggest], lambda x: macs(x).astype(np.float64), rng)


def deepest(
    space: SearchSpace, limits: Sequence[Limit], rng: np.random.Generator, low: float = LOW
) -> Architecture | None:
    """The architecture of the band with the most layers, by local search.

    Skipped layers and identities do not count.

    Of equally deep ones the one with the largest ratio; without budgets, the most
    multiply-accumulates.
    """
    band = band_of(space, limits, rng, low)
    if band is None:
        return None
    counts, macs = layers.table(space), flops.table(space)
    most = float(flops(space.extreme(flops.block, largest=True)))

    def score(choices_NG: ChoicesNG) -> Vector:
        filled_N = band.ratios(choices_NG) if limits else macs(choices_NG) / most
        return counts(choices_NG) + 0.5 * filled_N

    deep = [
        space.extreme(
            lambda block, w=weight, one=limit: (  # type: ignore[misc]
                one.cost.block(block) - w * one.budget * layers.block(block)
            )
        )
        for limit in limits
        for weight in _WEIGHTS
    ] or [space.extreme(layers.block, largest=True)]
    return _best(space, band, [space.choices(one) for one in deep], score, rng)


def width_scaled(
    space: SearchSpace, limits: Sequence[Limit], rng: np.random.Generator, low: float = LOW
) -> Architecture | None:
    """The middle architecture with its widths scaled until it fills the budget.

    The middle candidate of every group, with all widths multiplied by the largest common factor
    that keeps it within the band (rounded to the nearest candidates), then single widths raised
    while they fit. None if no width brings it into the band.
    """
    band = band_of(space, limits, rng, low)
    if band is None:
        return None
    middle = tuple(len(group.candidates) // 2 for group in space.groups)
    widths = {
        at: [float(value) for value in group.variables[0].options]
        for at, group in enumerate(space.groups)
        if group.variables[0].name == "channels"
    }
    scaled_NG = as_choices(_scaled(middle, widths))
    ratios_N = band.ratios(scaled_NG)
    fits = np.flatnonzero(ratios_N <= band.high)
    if not len(fits):
        return None
    here = tuple(int(x) for x in scaled_NG[fits[np.argmax(ratios_N[fits])]])
    while (wider := _wider(here, widths, band)) is not None:
        here = wider
    return space.architecture(here) if band.contains(here) else None


def _scaled(middle: Choices, widths: dict[int, list[float]]) -> list[Choices]:
    """The middle architecture at every common factor that changes a width."""
    factors = sorted({w / options[middle[at]] for at, options in widths.items() for w in options})
    between = [(a * b) ** 0.5 for a, b in pairwise(factors)]  # where only some are rounded up
    found = [middle]
    for factor in (*factors, *between):
        row = list(middle)
        for at, options in widths.items():
            target = factor * options[middle[at]]
            row[at] = min(range(len(options)), key=lambda o: (abs(options[o] - target), o))
        found.append(tuple(row))
    return list(dict.fromkeys(found))


def _wider(here: Choices, widths: dict[int, list[float]], band: Band) -> Choices | None:
    """`here` with the one larger width that fills the band best; None if none fits."""
    rows = [
        (*here[:at], option, *here[at + 1 :])
        for at, options in widths.items()
        for option, width in enumerate(options)
        if width > options[here[at]]
    ]
    if not rows:
        return None
    ratios_N = band.ratios(as_choices(rows))
    now = float(band.ratios(as_choices([here]))[0])
    fits = [n for n, ratio in enumerate(ratios_N) if now < ratio <= band.high]
    return rows[max(fits, key=lambda n: ratios_N[n])] if fits else None


def _best(
    space: SearchSpace,
    band: Band,
    starts: Sequence[Choices],
    score: Scores,
    rng: np.random.Generator,
) -> Architecture | None:
    """The highest score of the climbs from `starts` and from random networks of the band."""
    starts = list(dict.fromkeys([*starts, *band.sample(rng, _STARTS)]))
    climbed = [band.climb(start, score, rng) for start in starts]
    ends = list(dict.fromkeys(end for end in climbed if end is not None))
    if not ends:
        return None
    return space.architecture(ends[int(np.argmax(score(as_choices(ends))))])
