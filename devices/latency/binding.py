"""Which budgets of a device bind: whether its space has a network that exceeds them.

A budget that no network exceeds leaves the search nothing to decide by it.
"""

from __future__ import annotations

from core.artifact import Record
from devices.device import Device
from devices.latency.budgets import limits
from devices.latency.table import LatencyTable
from models.space.costs import block_flops
from models.space.limits import Limit
from models.space.space import SearchSpace


class BudgetUse(Record):
    """A budget, and what networks of the device's space take of it, in the budget's unit."""

    key: str
    """Its name under `devices.NAME.budget`, such as `flops` or `latency_share`."""
    allowed: float
    smallest: float
    """Cost of the network with the smallest."""
    largest: float
    """Cost of the network with the largest."""
    exact: bool = True
    """Whether no network costs less or more; otherwise (a latency regression) there may be some."""

    @property
    def binds(self) -> bool:
        """Whether the largest network exceeds the budget."""
        return self.largest > self.allowed

    def remark(self, device: str) -> str | None:
        """A sentence on a budget that does not bind, and what to do; None if it binds."""
        if self.binds:
            return None
        return (
            f"'{device}': the budget of {self.key} {format_cost(self.allowed)} excludes no "
            f"network; the largest takes {'' if self.exact else 'about '}"
            f"{self.largest / self.allowed:.0%} of it. Lower devices.{device}.budget.{self.key}, "
            f"or choose a space with larger networks."
        )


def budget_uses(space: SearchSpace, device: Device, table: LatencyTable) -> tuple[BudgetUse, ...]:
    """How far each budget of a device binds in its space, by predicted costs.

    `size_mb` counts only the weights. A latency budget is left out if it was not measured.
    """
    return tuple(_use(space, limit, table) for limit in limits(device, table))


def _use(space: SearchSpace, limit: Limit, table: LatencyTable) -> BudgetUse:
    block, peak = limit.cost.block, limit.cost.peak
    largest = space.extreme(block, largest=True, peak=peak)
    most = float(limit.cost(largest))
    if limit.key == "latency_ms" and table.largest_ms is not None:
        # A measurement is better than a prediction of the same network.
        same = largest == space.extreme(block_flops, largest=True)
        most = table.largest_ms if same else max(most, table.largest_ms)
    return BudgetUse(
        key=limit.named,
        allowed=round(limit.budget / limit.per_setting, 6),
        smallest=round(float(limit.cost(limit.smallest(space))) / limit.per_setting, 6),
        largest=round(most / limit.per_setting, 6),
        exact=limit.cost.exact,
    )


def format_cost(value: float) -> str:
    """A cost or a budget: whole numbers in full, others to four digits."""
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"
