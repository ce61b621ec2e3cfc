"""What a search algorithm is told of the space, the device and the supernet: values and callables.

Axes: N architectures, G groups, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from models.architecture import Block
from models.block_tables import ChoicesNG
from models.constrained import Excess
from models.costs import block_flops, block_parameters
from models.distribution import Choices, Distribution, Vector
from models.indicators import bn_table
from models.space import Group, SearchSpace
from models.stage_feature_tables import StageFeatureTables
from models.stage_features import stage_features, stage_sizes
from models.supernet import Supernet
from stages.common.budgets import Limit
from stages.common.params import nearest

Scores = Callable[[ChoicesNG], Vector]
"""One number of each of many architectures: choices (N, G) to (N,)."""


def as_choices(rows: Sequence[Choices]) -> ChoicesNG:
    """Architectures as an array (N, G); N is at least 1."""
    return np.array(rows, dtype=np.uint32)


class IndicatorError(ValueError):
    """A score that this problem does not know; the message names it and those there are."""


@dataclass(frozen=True)
class Features:
    """Readable numbers of architectures, for predictors.

    Attributes:
        names: gives the names of the F features.
        of: choices (N, G) to features (N, F).
    """

    names: Callable[[], tuple[str, ...]]
    of: Callable[[ChoicesNG], Vector]


@dataclass(frozen=True)
class Offer:
    """What one candidate of a layer offers and costs there, over the widths the layer may have.

    Attributes:
        label: the candidate's name.
        cost: mean cost, in the unit of `Pool.unit`.
        flops: mean multiply-accumulates; 0 for a layer left out.
        parameters: mean trainable numbers.
    """

    label: str
    cost: float
    flops: float
    parameters: float


@dataclass(frozen=True)
class Pool:
    """The operators of every layer, as measured on the device or counted.

    Attributes:
        unit: of the costs: the budget's key, such as `latency_ms`.
        offers: per group, one a candidate; empty for groups that are no layer's.
    """

    unit: str
    offers: tuple[tuple[Offer, ...], ...]


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        groups: the space's groups; an architecture takes one candidate of each.
        excess: 0 within all budgets, otherwise the sum of the fractions they are passed by.
        images: how many held-out images each step's NLLs are means over.
        excesses: `excess` of many architectures at once; None asks for them one by one.
        indicators: scores that need no image, by name; higher is better.
        described: features of architectures; None describes them by their candidates alone.
        pool: what operators offer and cost in each layer; None where that is not known.
        start: a distribution over these groups to start from; None starts from the uniform one.
    """

    groups: tuple[Group, ...]
    excess: Excess
    images: int
    excesses: Scores | None = None
    indicators: Mapping[str, Scores] = field(default_factory=dict)
    described: Features | None = None
    pool: Pool | None = None
    start: Distribution | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many candidates each group has."""
        return tuple(len(group.candidates) for group in self.groups)

    def excess_of(self, choices_NG: ChoicesNG) -> Vector:
        """The excess of many architectures, shape (N,)."""
        if self.excesses is not None:
            return self.excesses(choices_NG)
        return np.array([self.excess(tuple(row)) for row in choices_NG.tolist()], dtype=np.float64)

    def indicator(self, name: str) -> Scores:
        """A score by its name.

        Raises:
            IndicatorError: the problem has no such score.
        """
        if name not in self.indicators:
            known = ", ".join(self.indicators) or "none"
            raise IndicatorError(
                f"this search has no score '{name}', which is read from a supernet; it knows "
                f"{known}.{nearest(name, self.indicators)}"
            )
        return self.indicators[name]

    @property
    def features(self) -> Features:
        """The features in use: the space's own, or which candidate each group takes."""
        return self.described or candidate_features(self.groups)


def candidate_features(groups: tuple[Group, ...]) -> Features:
    """One number per candidate of every group: 1 where it is taken."""
    names = [f"{g.name}: {g.label(c)}" for g in groups for c in range(len(g.candidates))]
    starts = np.cumsum([0, *(len(group.candidates) for group in groups)])

    def of(choices_NG: ChoicesNG) -> Vector:
        found_NF = np.zeros((len(choices_NG), len(names)))
        np.put_along_axis(found_NF, choices_NG.astype(np.intp) + starts[:-1], 1.0, axis=1)
        return found_NF

    return Features(lambda: tuple(names), of)


def space_features(space: SearchSpace) -> Features:
    """The readable features of a space's stages, and which candidate each group takes.

    The first say what networks have in common, the second what no count of kernels and expansions
    can: that one operator is better than another at one place. Tables are made when first needed.
    """
    tables, candidates = cache(lambda: StageFeatureTables(space)), candidate_features(space.groups)
    example = space.architecture([0] * len(space.groups))
    names = (*stage_features(example, stage_sizes(space.groups)), *candidates.names())

    def of(choices_NG: ChoicesNG) -> Vector:
        columns = tables().features(choices_NG)
        return np.hstack([np.stack(list(columns.values()), axis=1), candidates.of(choices_NG)])

    return Features(lambda: names, of)


def bn_indicators(supernet: Supernet, space: SearchSpace) -> dict[str, Scores]:
    """The BN indicators of a supernet, which is read when a score is first asked for.

    Args:
        supernet: of this space, trained for a while.
        space: the architectures there are.
    """
    table = cache(lambda: bn_table(supernet, space))
    return {
        "bn_indicator": lambda choices_NG: table().scores(choices_NG),
        "bn_indicator_per_layer": lambda choices_NG: table().scores(choices_NG, per_layer=True),
    }


def pool_of(space: SearchSpace, limits: Sequence[Limit]) -> Pool | None:
    """What every operator offers and costs in every layer; None without any budget.

    The cost is the latency, where it has a budget and was measured, otherwise that of the first
    budget there is. It is the mean over the widths and sizes that the layer may have.
    """
    if not limits:
        return None
    limit = next((one for one in limits if one.key == "latency_ms"), limits[0])
    offers: list[tuple[Offer, ...]] = [()] * len(space.groups)
    possible = space.possible()[-len(space.layers) - 1 : -1]
    for layer, blocks in zip(space.layers, possible, strict=True):
        settings: dict[tuple[object, ...], list[Block]] = {}
        for block in blocks:
            settings.setdefault((block.operator, block.settings), []).append(block)
        group = space.groups[layer.group]
        offers[layer.group] = tuple(
            _offer(
                _words(group, candidate),
                [] if option is None else settings[option.operator, option.settings],
                limit,
            )
            for candidate, option in enumerate(layer.menu.options)
        )
    return Pool(limit.key, tuple(offers))


def _words(group: Group, candidate: int) -> str:
    """A candidate as a person would say it: `mbconv kernel=3 expansion=6`."""
    values = group.values(candidate)
    operator = str(values.pop("operator"))
    settings = (f"{name.removeprefix(f'{operator}.')}={value}" for name, value in values.items())
    return " ".join((operator, *settings))


def _offer(label: str, blocks: Sequence[Block], limit: Limit) -> Offer:
    """The means over the blocks that one candidate may be; nothing for a layer left out."""
    costs = [
        (limit.block_cost(block), block_flops(block), block_parameters(block)) for block in blocks
    ] or [(0.0, 0, 0)]
    return Offer(label, *(float(np.mean(column)) for column in zip(*costs, strict=True)))


def many_excesses(space: SearchSpace, limits: Sequence[Limit]) -> Scores | None:
    """The summed excess of many architectures at once; None where a limit has no such form."""
    makers = [limit.many for limit in limits if limit.many is not None]
    if len(makers) < len(limits):
        return None
    tables = cache(lambda: [make(space) for make in makers])

    def excesses(choices_NG: ChoicesNG) -> Vector:
        total_N = np.zeros(len(choices_NG))
        for limit, cost in zip(limits, tables(), strict=True):
            total_N += np.maximum(0.0, cost(choices_NG) / limit.budget - 1.0)
        return total_N

    return excesses
