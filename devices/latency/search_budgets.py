"""The budgets that a search of a device applies."""

from __future__ import annotations

from dataclasses import dataclass

from devices.device import Device
from devices.latency.budgets import limits
from devices.latency.table import LatencyTable
from models.space.limits import InfeasibleBudgetError, Limit, require_feasible
from models.space.space import SearchSpace


@dataclass(frozen=True)
class SearchBudgets:
    """The budgets of a search.

    Attributes:
        limits: one per budget, the latency budget reduced by the margin.
        margin: fraction of the latency budget left free; None without a latency limit.
    """

    limits: tuple[Limit, ...]
    margin: float | None


def search_budgets(
    space: SearchSpace, name: str, device: Device, table: LatencyTable, target_margin: float
) -> SearchBudgets:
    """The device's budgets, with the largest feasible part of the target margin.

    The margin makes it more likely that the measured latency is within the budget; it never makes a
    feasible budget infeasible.

    Args:
        space: the search space.
        name: the device's name, for the message.
        device: its settings, with the budgets.
        table: its latency model.
        target_margin: fraction of the latency budget to leave free.

    Raises:
        InfeasibleBudgetError: the budgets cannot be met even without margin.
    """
    full = limits(device, table)
    require_feasible(space, name, full)
    latency = next((limit for limit in full if limit.key == "latency_ms"), None)
    if latency is None:
        return SearchBudgets(full, None)
    least = latency.cost(latency.smallest(space))
    # Slightly less, so that rounding does not exclude the fastest architecture itself.
    largest = max(0.0, 1 - least / latency.budget - 1e-9)
    for margin in dict.fromkeys((target_margin, min(target_margin, largest))):
        tightened = limits(device, table, margin)
        try:
            require_feasible(space, name, tightened)
        except InfeasibleBudgetError:
            continue
        return SearchBudgets(tightened, margin)
    return SearchBudgets(full, 0.0)  # another budget excludes the fastest architectures


def print_relaxed_budgets(
    name: str, device: Device, table: LatencyTable, budgets: SearchBudgets, margin: float
) -> None:
    """Print which of the device's budgets and margins the search relaxes."""
    if budgets.margin is not None and budgets.margin < margin:
        print(
            f"no architecture meets the latency budget of '{name}' with search.latency_margin "
            f"{margin:.1%}: searching with {budgets.margin:.1%}."
        )
    if device.budget.latency_key is not None and not table.measured:
        print(
            f"'{name}' was not measured on this machine: its latency budget is not applied, and "
            "latency must be checked on the device."
        )
