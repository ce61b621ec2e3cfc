"""The search problem as seen by an algorithm: values and callables only.

Axes: N architectures, G groups, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from core.errors import UserError, nearest
from models.nets.indicators import bn_table
from models.nets.supernet import Supernet
from models.space.architecture import Block
from models.space.block_tables import ChoicesNG
from models.space.costs import block_flops, block_parameters
from models.space.distribution import Choices, Distribution, Vector
from models.space.groups import Group
from models.space.limits import Limit, excess_table
from models.space.space import SearchSpace
from models.space.stage_features import StageFeatureTables, stage_features, stage_sizes

Scores = Callable[[ChoicesNG], Vector]
"""Scores of many architectures: choices (N, G) to (N,)."""


def as_choices(rows: Sequence[Choices]) -> ChoicesNG:
    """Architectures as an array (N, G); N is at least 1."""
    return np.array(rows, dtype=np.uint32)


@dataclass(frozen=True)
class Features:
    """Interpretable features of architectures, for predictors: choices (N, G) to (N, F)."""

    names: tuple[str, ...]
    of: Callable[[ChoicesNG], Vector]


@dataclass(frozen=True)
class OperatorCosts:
    """Mean costs of one candidate of a layer over the widths the layer may have.

    `cost` is in the unit of `Pool.unit`; all are 0 for a skipped layer.
    """

    label: str
    cost: float
    flops: float
    parameters: float


@dataclass(frozen=True)
class Pool:
    """Costs of the operators of every layer, as measured on the device or counted.

    Attributes:
        unit: of the costs: the budget's key, such as `latency_ms`.
        operators: per group, one per candidate; empty for groups that are not a layer.
    """

    unit: str
    operators: tuple[tuple[OperatorCosts, ...], ...]


@dataclass(frozen=True)
class Problem:
    """A search problem.

    Attributes:
        groups: the space's groups; an architecture takes one candidate of each.
        excesses: 0 within all budgets, otherwise the summed fractions by which they are exceeded.
        images: number of held-out images per NLL.
        indicators: training-free scores by name; higher is better.
        described: features of architectures; None: one-hot candidates.
        pool: costs of the operators in each layer; None if not known.
        start: initial distribution over these groups; None: uniform.
    """

    groups: tuple[Group, ...]
    excesses: Scores
    images: int
    indicators: Mapping[str, Scores] = field(default_factory=dict)
    described: Features | None = None
    pool: Pool | None = None
    start: Distribution | None = None
    _excess: dict[Choices, float] = field(default_factory=dict, init=False, repr=False)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of candidates per group."""
        return tuple(len(group.candidates) for group in self.groups)

    def excess(self, choices: Choices) -> float:
        """The excess of one architecture."""
        if choices not in self._excess:
            self._excess[choices] = float(self.excesses(as_choices([choices]))[0])
        return self._excess[choices]

    def indicator(self, name: str) -> Scores:
        """Look up a score by name.

        Raises:
            UserError: the problem has no such score.
        """
        if name not in self.indicators:
            known = ", ".join(self.indicators) or "none"
            raise UserError(
                f"this search has no score '{name}', which requires a supernet; known: "
                f"{known}.{nearest(name, self.indicators)}"
            )
        return self.indicators[name]

    @property
    def features(self) -> Features:
        """The space's features if given, otherwise one-hot candidates."""
        return self.described or candidate_features(self.groups)


def problem_of(
    space: SearchSpace,
    limits: Sequence[Limit],
    images: int,
    indicators: Mapping[str, Scores] | None = None,
) -> Problem:
    """Build the search problem of a space within a device's budgets; see `Problem`."""
    return Problem(
        space.groups,
        excess_table(space, limits),
        images,
        indicators or {},
        described=space_features(space),
        pool=pool_of(space, limits),
    )


def candidate_features(groups: tuple[Group, ...]) -> Features:
    """One-hot features of the candidates of every group."""
    names = [f"{g.name}: {g.label(c)}" for g in groups for c in range(len(g.candidates))]
    starts = np.cumsum([0, *(len(group.candidates) for group in groups)])

    def of(choices_NG: ChoicesNG) -> Vector:
        found_NF = np.zeros((len(choices_NG), len(names)))
        np.put_along_axis(found_NF, choices_NG.astype(np.intp) + starts[:-1], 1.0, axis=1)
        return found_NF

    return Features(tuple(names), of)


def space_features(space: SearchSpace) -> Features:
    """Stage features, which generalise over networks, plus one-hot candidates, which do not.

    Tables are built when first needed.
    """
    tables, candidates = cache(lambda: StageFeatureTables(space)), candidate_features(space.groups)
    example = space.architecture([0] * len(space.groups))
    names = (*stage_features(example, stage_sizes(space.groups)), *candidates.names)

    def of(choices_NG: ChoicesNG) -> Vector:
        columns = tables().features(choices_NG)
        return np.hstack([np.stack(list(columns.values()), axis=1), candidates.of(choices_NG)])

    return Features(names, of)


def bn_indicators(supernet: Supernet, space: SearchSpace) -> dict[str, Scores]:
    """The BN indicators of a space's supernet, computed when first needed."""
    table = cache(lambda: bn_table(supernet, space))
    return {
        "bn_indicator": lambda choices_NG: table().scores(choices_NG),
        "bn_indicator_per_layer": lambda choices_NG: table().scores(choices_NG, per_layer=True),
    }


def pool_of(space: SearchSpace, limits: Sequence[Limit]) -> Pool | None:
    """Costs of every operator in every layer; None without any budget.

    The cost is the latency if it has a budget and was measured, otherwise that of the first budget.
    It is the mean over the widths and sizes that the layer may have.
    """
    if not limits:
        return None
    limit = next((one for one in limits if one.key == "latency_ms"), limits[0])
    operators: list[tuple[OperatorCosts, ...]] = [()] * len(space.groups)
    possible = space.possible()[-len(space.layers) - 1 : -1]
    for layer, blocks in zip(space.layers, possible, strict=True):
        settings: dict[tuple[object, ...], list[Block]] = {}
        for block in blocks:
            settings.setdefault((block.operator, block.settings), []).append(block)
        group = space.groups[layer.group]
        operators[layer.group] = tuple(
            _operator_costs(
                _label(group, candidate),
                [] if option is None else settings[option.operator, option.settings],
                limit,
            )
            for candidate, option in enumerate(layer.menu.options)
        )
    return Pool(limit.key, tuple(operators))


def _label(group: Group, candidate: int) -> str:
    """Readable label of a candidate: `mbconv kernel=3 expansion=6`."""
    values = group.values(candidate)
    operator = str(values.pop("operator"))
    settings = (f"{name.removeprefix(f'{operator}.')}={value}" for name, value in values.items())
    return " ".join((operator, *settings))


def _operator_costs(label: str, blocks: Sequence[Block], limit: Limit) -> OperatorCosts:
    """Mean costs over the blocks that a candidate may be; 0 for a skipped layer."""
    costs = [
        (limit.cost.block(block), block_flops(block), block_parameters(block)) for block in blocks
    ] or [(0.0, 0, 0)]
    return OperatorCosts(label, *(float(np.mean(column)) for column in zip(*costs, strict=True)))
