"""Limits on costs of architectures, and whether a space has an architecture within all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from models.space.architecture import Architecture
from models.space.block_tables import ChoicesNG, Values
from models.space.constrained import nearest_within
from models.space.costs import Cost, CostTable
from models.space.space import SearchSpace

UNITS = {
    "latency_ms": "predicted latency (ms)",
    "flops": "multiply-accumulates",
    "parameters": "parameters",
    "size_mb": "weights (MB)",
    "memory_mb": "peak activation memory (MB)",
}
"""Axis label of each budget in plots."""
_ATTEMPTS = 50


class InfeasibleBudgetError(ValueError):
    """No architecture of the space meets a device's budgets; the message names the closest."""


@dataclass(frozen=True)
class Limit:
    """One budget of a device."""

    key: str
    """Its name under `devices.NAME.budget`, such as `latency_ms`."""
    budget: float
    """The largest cost allowed, in the key's unit."""
    cost: Cost
    """Of architectures, in that unit. Where it is not `exact` (a latency regression), the
    architecture with the smallest block costs only gives an upper bound of the least cost."""
    setting: str | None = None
    """Its name in the params if it differs from `key`: `latency_share`."""
    per_setting: float = 1.0
    """The cost's unit per unit of that setting."""

    @property
    def named(self) -> str:
        """Its name in the params."""
        return self.setting or self.key

    def format_cost(self, cost: float, digits: str = ".4g") -> str:
        """Format a cost in the params' unit; a share of latency also in milliseconds."""
        if self.setting is None:
            return f"{cost:{digits}}"
        return f"{cost / self.per_setting:{digits}} ({cost:.4g} ms)"

    def smallest(self, space: SearchSpace) -> Architecture:
        """The architecture of the space with the smallest cost according to its block costs."""
        return space.extreme(self.cost.block, peak=self.cost.peak)

    def excess(self, architecture: Architecture) -> float:
        """Fraction of the budget by which the cost exceeds it; 0 within the budget."""
        return max(0.0, float(self.cost(architecture)) / self.budget - 1.0)


def total_excess(architecture: Architecture, limits: Sequence[Limit]) -> float:
    """Sum over the limits of the fraction by which each is exceeded; 0 within all of them."""
    return sum(limit.excess(architecture) for limit in limits)


def excess_table(space: SearchSpace, limits: Sequence[Limit]) -> CostTable:
    """`total_excess` of many architectures of a space; tables are built at the first call."""
    tables = cache(lambda: [limit.cost.table(space) for limit in limits])

    def excesses(choices_NG: ChoicesNG) -> Values:
        total_N = np.zeros(len(choices_NG))
        for limit, table in zip(limits, tables(), strict=True):
            total_N += np.maximum(0.0, table(choices_NG) / limit.budget - 1.0)
        return total_N

    return excesses


def require_feasible(space: SearchSpace, name: str, limits: Sequence[Limit]) -> None:
    """Raise if no architecture of the space can meet the device's budgets.

    A single budget with an `exact` cost is decided by the architecture with the smallest cost.
    Other budgets, and combinations, are checked by a local search from many random starts.

    Raises:
        InfeasibleBudgetError: a budget, or all of them together, cannot be met.
    """
    smallest = [limit.smallest(space) for limit in limits]
    for limit, architecture in zip(limits, smallest, strict=True):
        least = limit.cost(architecture)
        if limit.cost.exact and least > limit.budget:
            raise InfeasibleBudgetError(
                f"no architecture of space '{space.name}' keeps {limit.named} within "
                f"{limit.format_cost(limit.budget, 'g')} on '{name}': the closest, "
                f"{architecture.id} ({architecture.short()}), needs {limit.format_cost(least)}. "
                f"Raise devices.{name}.budget.{limit.named} or add smaller options to the space."
            )
    if not limits or any(total_excess(a, limits) == 0 for a in smallest):
        return

    def excess(choices: tuple[int, ...]) -> float:
        return total_excess(space.architecture(choices), limits)

    rng = np.random.default_rng(0)
    seen, over = nearest_within(space.groups, excess, rng, _ATTEMPTS)
    if over <= 0:
        return
    nearest = min([space.architecture(seen), *smallest], key=lambda a: total_excess(a, limits))
    raise InfeasibleBudgetError(_describe_nearest(space.name, name, limits, nearest))


def _describe_nearest(space: str, name: str, limits: Sequence[Limit], nearest: Architecture) -> str:
    """The message of budgets that no architecture was found to meet together."""
    costs = ", ".join(
        f"{x.named} {x.format_cost(x.cost(nearest))} of {x.format_cost(x.budget, 'g')}"
        for x in limits
    )
    raises = " and ".join(
        f"devices.{name}.budget.{x.named} to {x.format_cost(x.cost(nearest))}"
        for x in limits
        if x.excess(nearest) > 0
    )
    exact = all(limit.cost.exact for limit in limits)
    alone = f"each budget of '{name}' can be met alone, but " if exact else ""
    what = "all together" if len(limits) > 1 else f"the budget of '{name}'"
    return (
        f"{alone}no architecture of space '{space}' that meets {what} was found in "
        f"{_ATTEMPTS} searches; the closest is {nearest.id} ({nearest.short()}) with {costs}. "
        f"Either raise {raises}, or add smaller options to the space."
    )
