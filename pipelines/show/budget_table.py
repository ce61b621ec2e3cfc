"""Budgets of a device against the smallest and largest network of its space, for `doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import UserError
from devices.device import Device, DeviceError
from devices.latency.binding import BudgetUse, budget_uses, format_cost
from devices.latency.device_space import device_space
from devices.latency.feasibility import least_latency
from devices.latency.table import LatencyTable
from pipelines.checks.budgets import Setting, check_budget, measure_extremes
from pipelines.checks.params import problems_of
from pipelines.checks.preflight import check_device


@dataclass(frozen=True)
class BudgetRow:
    """A budget, and what networks take of it; `use` is None for a latency not yet measured."""

    key: str
    allowed: float
    use: BudgetUse | None = None
    interval: tuple[float, float] | None = None
    """95% confidence interval of the smallest network's latency, if it was measured for this."""
    largest_ms: float | None = None
    """For a share: latency of the largest network in milliseconds."""

    @property
    def smallest(self) -> float | None:
        """Cost of the smallest network."""
        return None if self.use is None else self.use.smallest

    def cells(self) -> tuple[str, str, str]:
        """Budget, smallest and largest cost as table cells."""
        if self.use is None:
            return self._format(self.allowed), "not measured yet", "not measured yet"
        smallest = ("" if self.use.exact else "at most ") + self._with_share(self.use.smallest)
        largest = ("" if self.use.exact else "at least ") + self._with_share(self.use.largest)
        if self.interval is not None:
            low, high = self.interval
            smallest += f", 95% interval {low / self.allowed:.0%} to {high / self.allowed:.0%}"
        return self._format(self.allowed), smallest, largest

    def _with_share(self, cost: float) -> str:
        return f"{self._format(cost)} ({cost / self.allowed:.0%})"

    def _format(self, cost: float) -> str:
        if self.largest_ms is None:
            return format_cost(cost)
        return f"{format_cost(cost)} = {cost * self.largest_ms:.4g} ms"


def budget_rows(name: str, device: Device, setting: Setting) -> tuple[list[BudgetRow], list[str]]:
    """A device's budgets with the cost range of its space, and the problems with them.

    Both use the same measurement. A device with invalid settings has no rows.
    """
    if problems_of(check_device, device):
        return [], []
    wrong = problems_of(check_budget, name, device, setting)
    table = setting.tables.get(name) or LatencyTable.unmeasured(name, device.backend)
    try:
        space = device_space(setting.space, name, device).space
        uses = {use.key: use for use in budget_uses(space, device, table)}
    except (DeviceError, UserError):  # it is among `wrong`
        return [], wrong
    rows = []
    for key, allowed in device.budget.model_dump(exclude_none=True).items():
        if key in uses:
            share = key == "latency_share"
            ms = table.largest_ms if share else None
            rows.append(BudgetRow(key, allowed, uses[key], largest_ms=ms))
        else:
            rows.append(_measure_latency(key, allowed, name, device, setting))
    return rows, wrong


def remarks(name: str, rows: list[BudgetRow], setting: Setting) -> list[str]:
    """Sentences on the budgets that do not bind, or of which this is not yet known."""
    found = []
    for row in rows:
        if row.use is None:
            found.append(
                f"'{name}': whether {row.key} {format_cost(row.allowed)} excludes any network is "
                f"not known: the device was not measured yet."
            )
        elif (remark := row.use.remark(name)) is not None:
            found.append(remark + ("" if setting.prepared else f" {UNPREPARED}"))
    return found


UNPREPARED = "(For one channel and ten classes: the data set is not prepared yet.)"
"""What `remarks` assume before."""


def _measure_latency(
    key: str, allowed: float, name: str, device: Device, setting: Setting
) -> BudgetRow:
    """The latency range, measured now."""
    measured = measure_extremes(name, device, setting)
    if measured is None:
        return BudgetRow(key, allowed)
    least, interval = least_latency(measured, key)
    share = key == "latency_share"
    most = 1.0 if share else measured.reference_ms
    use = BudgetUse(key=key, allowed=allowed, smallest=least, largest=most)
    return BudgetRow(key, allowed, use, interval, measured.reference_ms if share else None)
