"""A device's budgets as limits on predicted costs of architectures, and those of its search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from core.errors import UserError
from core.files import rounded
from devices.device import Device, Precision
from devices.latency.cost import latency_cost, predict_ms
from devices.latency.table import LatencyTable, network_key
from devices.measure.interleaved import Measurement
from devices.runtimes.registry import backend
from models.space.architecture import Architecture
from models.space.costs import Cost, block_flops, flops, parameters, peak_activation_bytes
from models.space.limits import InfeasibleBudgetError, Limit, require_feasible
from models.space.space import SearchSpace

BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes per weight, by precision."""


def search_precision(device: Device) -> Precision:
    """The precision in which latency and size are predicted during the search.

    With `auto` it is the backend's first native precision (float32 where supported): whether a
    lower precision keeps the accuracy is known only after training, so float32 must meet the
    budgets.
    """
    if device.precision == "auto":
        return backend(device.backend).native_precisions[0]
    return device.precision


def with_largest(
    table: LatencyTable,
    space: SearchSpace,
    device: Device,
    found: Mapping[str, float | Measurement],
) -> LatencyTable:
    """Add the latency of the space's largest network, which `budget.latency_share` refers to.

    It is in the search precision. `found` are measured networks by `network_key`: milliseconds, or
    with their intervals. If the largest is missing (an imported table may contain only blocks),
    its latency is predicted, without an interval.
    """
    largest, precision = space.extreme(block_flops, largest=True), search_precision(device)
    measured = found.get(network_key(largest, precision))
    if measured is None:
        measured = predict_ms(table, largest, precision)
    if not isinstance(measured, Measurement):
        return replace(table, largest_ms=rounded(measured))
    low, high = (round(ms, 6) for ms in measured.interval)
    return replace(table, largest_ms=rounded(measured.ms), largest_interval=(low, high))


def latency_budget(device: Device, table: LatencyTable) -> float | None:
    """The device's latency budget in milliseconds per image, normalised to its profile's reference.

    The only place where `budget.latency_share` is converted to milliseconds.

    Returns:
        None without a latency budget, or if it is a share and the device was not measured.

    Raises:
        UserError: the profile lacks the latency of the space's largest network.
    """
    share = device.budget.latency_share
    if share is None or not table.measured:
        return device.budget.latency_ms
    if table.largest_ms is None:
        raise UserError(
            f"the profile of '{table.device}' lacks the latency of the largest network, which "
            f"budget.latency_share refers to. Profile again: netwright profile {table.device}"
        )
    return rounded(share * table.largest_ms)


def with_milliseconds(device: Device, table: LatencyTable) -> Device:
    """The device with its latency share replaced by milliseconds, if known."""
    budget_ms = latency_budget(device, table)
    if device.budget.latency_share is None or budget_ms is None:
        return device
    changes = {"latency_ms": budget_ms, "latency_share": None}
    return device.model_copy(update={"budget": device.budget.model_copy(update=changes)})


def limits(device: Device, table: LatencyTable, latency_margin: float = 0.0) -> tuple[Limit, ...]:
    """The device's budgets as limits on predicted costs; no latency if it was not measured.

    `size_mb` counts only the weights: their number times the bytes of the search precision; the
    gate checks the size of the whole bundle. `latency_margin` is the fraction of the latency budget
    to leave free, because half of the networks predicted to lie just within the budget would be
    measured above it.
    """
    budget, precision = device.budget, search_precision(device)
    found: list[Limit] = []
    budget_ms, share = latency_budget(device, table), budget.latency_share
    if budget_ms is not None and table.measured:
        found.append(
            Limit(
                "latency_ms",
                budget_ms * (1 - latency_margin),
                latency_cost(table, precision),
                setting=None if share is None else "latency_share",
                per_setting=1.0 if share is None else budget_ms / share,
            )
        )
    counted = {
        "flops": (budget.flops, flops),
        "parameters": (budget.parameters, parameters),
        "size_mb": (budget.size_mb, weights_mb(precision)),
        "memory_mb": (budget.memory_mb, peak_memory_mb(precision)),
    }
    kept = (Limit(key, most, cost) for key, (most, cost) in counted.items() if most is not None)
    return (*found, *kept)


def weights_mb(precision: Precision) -> Cost:
    """Megabytes (10^6 bytes) of the weights in a precision."""
    return replace(parameters, scale=BYTES[precision] / 1e6)


def peak_memory_mb(precision: Precision) -> Cost:
    """Peak activation memory for one image in megabytes (10^6 bytes), in a precision."""
    return replace(peak_activation_bytes, scale=BYTES[precision] / BYTES["float32"] / 1e6)


def predicted_costs(
    device: Device, table: LatencyTable
) -> Callable[[Architecture], dict[str, float | None]]:
    """Return a function for an architecture's costs on the device; latency None if not measured.

    Memory is computed only if it has a budget, because every new block's forward pass is traced
    for it.
    """
    precision = search_precision(device)
    latency = latency_cost(table, precision) if table.measured else None
    size_mb, memory_mb = weights_mb(precision), peak_memory_mb(precision)
    limited = device.budget.memory_mb is not None

    def costs(architecture: Architecture) -> dict[str, float | None]:
        return {
            "latency_ms": None if latency is None else rounded(latency(architecture)),
            "flops": flops(architecture),
            "parameters": parameters(architecture),
            "size_mb": rounded(size_mb(architecture)),
            "memory_mb": rounded(memory_mb(architecture)) if limited else None,
        }

    return costs


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
