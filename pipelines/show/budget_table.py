"""Budgets of a device against the smallest and largest network of its space, for `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.device import Device
from devices.latency.budgets import search_precision
from devices.latency.cost import predict_ms
from devices.latency.device_space import device_space
from models.space.architecture import Architecture, Block
from models.space.costs import block_flops, block_parameters, flops, parameters
from models.space.space import SearchSpace
from pipelines.checks.budgets import Setting, check_budget, measure_extremes
from pipelines.checks.params import problems_of
from pipelines.checks.preflight import check_device

LATENCY = ("latency_ms", "latency_share")
Costs = tuple[Callable[[Block], int], Callable[[Architecture], int]]
_BY_SHAPE: dict[str, Costs] = {
    "flops": (block_flops, flops),
    "parameters": (block_parameters, parameters),
}


@dataclass(frozen=True)
class BudgetRow:
    """A budget, and the cost of the smallest and the largest network of the space.

    Attributes:
        key: name of the budget, such as `latency_share`; the numbers are in its unit.
        allowed: the budget.
        smallest: cost of the smallest network; None if unknown on this machine.
        largest: cost of the largest network; None if unknown on this machine.
        interval: 95% confidence interval of `smallest`, if it was measured for this.
        largest_ms: for a share: latency of the largest network in milliseconds.
        is_bound: whether `smallest` is only an upper bound.
    """

    key: str
    allowed: float
    smallest: float | None = None
    largest: float | None = None
    interval: tuple[float, float] | None = None
    largest_ms: float | None = None
    is_bound: bool = False

    @property
    def is_loose(self) -> bool:
        """Whether even the largest network meets the budget."""
        return self.largest is not None and self.largest <= self.allowed

    def cells(self) -> tuple[str, str, str]:
        """Budget, smallest and largest cost as table cells."""
        return self._format(self.allowed), self._format_smallest(), self._with_share(self.largest)

    def note(self, name: str) -> str:
        """The note about a budget that is loose."""
        assert self.largest is not None
        return (
            f"'{name}': the budget of {self.key} {_number(self.allowed)} excludes no network; the "
            f"largest needs {self.largest / self.allowed:.0%} of it."
        )

    def _format_smallest(self) -> str:
        text = self._with_share(self.smallest)
        if self.interval is not None:
            low, high = self.interval
            text += f", 95% interval {low / self.allowed:.0%} to {high / self.allowed:.0%}"
        return f"at most {text}" if self.is_bound else text

    def _with_share(self, cost: float | None) -> str:
        if cost is None:
            return "unknown"
        return f"{self._format(cost)} ({cost / self.allowed:.0%})"

    def _format(self, cost: float) -> str:
        if self.largest_ms is None:
            return _number(cost)
        return f"{_number(cost)} = {cost * self.largest_ms:.4g} ms"


def budget_rows(name: str, device: Device, setting: Setting) -> tuple[list[BudgetRow], list[str]]:
    """A device's budgets with the cost range of its space, and the problems with them.

    Both use the same measurement, where one is needed. No rows are returned for a device with
    invalid settings, which `check_device` reports.
    """
    if problems_of(check_device, device):
        return [], []
    wrong = problems_of(check_budget, name, device, setting)
    if problems_of(device_space, setting.space, name, device):
        return [], wrong
    budget = {k: v for k, v in device.budget.model_dump().items() if v is not None}
    return [_evaluate(key, value, name, device, setting) for key, value in budget.items()], wrong


def _evaluate(key: str, allowed: float, name: str, device: Device, setting: Setting) -> BudgetRow:
    """The cost range for one budget.

    Unknown for bundle size, known only after the build, and for memory, which the space checks.
    """
    space = device_space(setting.space, name, device).space
    if key in LATENCY:
        return _evaluate_latency(key, allowed, space, name, device, setting)
    if key not in _BY_SHAPE:
        return BudgetRow(key, allowed)
    of_block, of_network = _BY_SHAPE[key]
    least, most = (of_network(space.extreme(of_block, largest=end)) for end in (False, True))
    return BudgetRow(key, allowed, least, most)


def _evaluate_latency(
    key: str, allowed: float, space: SearchSpace, name: str, device: Device, setting: Setting
) -> BudgetRow:
    """The latency range, from the device's latency table or measured now."""
    table, share = setting.tables.get(name), key == "latency_share"
    if table is not None and table.measured:
        precision = search_precision(device)
        fastest = space.extreme(lambda block: table.block_cost(block.key, precision))
        least, most = predict_ms(table, fastest, precision), table.largest_ms
        bound = not table.additive(precision)
        if not share:
            return BudgetRow(key, allowed, least, most, is_bound=bound)
        if most is None:
            return BudgetRow(key, allowed)
        return BudgetRow(key, allowed, least / most, 1.0, largest_ms=most, is_bound=bound)
    measured = measure_extremes(name, device, setting)
    if measured is None:
        return BudgetRow(key, allowed)
    least, interval = measured.least(key)
    most = 1.0 if share else measured.largest_ms
    return BudgetRow(key, allowed, least, most, interval, measured.largest_ms if share else None)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
