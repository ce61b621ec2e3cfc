"""Budgets of a device against the smallest and largest network of its space, for `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.device import Device, DeviceError
from devices.latency.budgets import search_precision
from devices.latency.cost import predict_ms
from devices.latency.device_space import device_space
from devices.latency.feasibility import least_latency
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
    """A budget, and the costs of the smallest and largest network in its unit; None: unknown."""

    key: str
    allowed: float
    smallest: float | None = None
    largest: float | None = None
    interval: tuple[float, float] | None = None
    """95% confidence interval of `smallest`, if it was measured for this."""
    largest_ms: float | None = None
    """For a share: latency of the largest network in milliseconds."""
    is_bound: bool = False
    """Whether `smallest` is only an upper bound."""

    @property
    def is_loose(self) -> bool:
        """Whether even the largest network meets the budget."""
        return self.largest is not None and self.largest <= self.allowed

    def cells(self) -> tuple[str, str, str]:
        """Budget, smallest and largest cost as table cells."""
        smallest = self._with_share(self.smallest)
        if self.interval is not None:
            low, high = self.interval
            smallest += f", 95% interval {low / self.allowed:.0%} to {high / self.allowed:.0%}"
        bound = "at most " if self.is_bound else ""
        return self._format(self.allowed), bound + smallest, self._with_share(self.largest)

    def note(self, name: str) -> str:
        """The note about a budget that is loose."""
        assert self.largest is not None
        return (
            f"'{name}': the budget of {self.key} {_number(self.allowed)} excludes no network; the "
            f"largest needs {self.largest / self.allowed:.0%} of it."
        )

    def _with_share(self, cost: float | None) -> str:
        return "unknown" if cost is None else f"{self._format(cost)} ({cost / self.allowed:.0%})"

    def _format(self, cost: float) -> str:
        if self.largest_ms is None:
            return _number(cost)
        return f"{_number(cost)} = {cost * self.largest_ms:.4g} ms"


def budget_rows(name: str, device: Device, setting: Setting) -> tuple[list[BudgetRow], list[str]]:
    """A device's budgets with the cost range of its space, and the problems with them.

    Both use the same measurement. A device with invalid settings has no rows.
    """
    if problems_of(check_device, device):
        return [], []
    wrong = problems_of(check_budget, name, device, setting)
    try:
        space = device_space(setting.space, name, device).space
    except DeviceError:  # it is among `wrong`
        return [], wrong
    rows = []
    for key, allowed in device.budget.model_dump(exclude_none=True).items():
        if key in _BY_SHAPE:
            of_block, of_network = _BY_SHAPE[key]
            least, most = (space.extreme(of_block, largest=end) for end in (False, True))
            rows.append(BudgetRow(key, allowed, of_network(least), of_network(most)))
        elif key in LATENCY:
            rows.append(_evaluate_latency(key, allowed, space, name, device, setting))
        else:  # the bundle's size is known after its build, and the space checks the memory
            rows.append(BudgetRow(key, allowed))
    return rows, wrong


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
    least, interval = least_latency(measured, key)
    most = 1.0 if share else measured.reference_ms
    return BudgetRow(key, allowed, least, most, interval, measured.reference_ms if share else None)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
