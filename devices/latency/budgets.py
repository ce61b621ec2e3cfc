"""A device's budgets as limits on predicted costs of architectures, and feasibility checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.errors import UserError
from core.files import read_json, rounded
from devices.device import Device, Precision
from devices.latency.cost import latency_cost
from devices.latency.table import LatencyTable
from devices.measure.reference import LATENCY
from devices.runtimes.registry import backend
from models.space.architecture import Architecture
from models.space.costs import Cost, flops, parameters, peak_activation_bytes
from models.space.limits import Limit

BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes per weight, by precision."""


def read_latency_table(profile: Path) -> LatencyTable:
    """Read the latency table written by the stage `profile`.

    Raises:
        FileFormatError: `latency.json` is missing or has another schema.
        UserError: it is incomplete.
    """
    return LatencyTable.from_json(read_json(profile / "latency.json", LATENCY))


def search_precision(device: Device) -> Precision:
    """The precision in which latency and size are predicted during the search.

    With `auto` it is the backend's first native precision (float32 where supported): whether a
    lower precision keeps the accuracy is known only after training, so float32 must meet the
    budgets.
    """
    if device.precision == "auto":
        return backend(device.backend).native_precisions[0]
    return device.precision


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
    """The device's budgets as limits on predicted costs.

    The latency budget is omitted if the device was not measured. `size_mb` counts only the
    weights: their number times the bytes of the search precision; the gate checks the size of the
    whole bundle.

    Args:
        device: the device.
        table: its latency model.
        latency_margin: fraction of the latency budget to leave free, because half of the networks
            predicted to lie just within the budget would be measured above it.
    """
    budget, precision = device.budget, search_precision(device)
    found: list[Limit] = []
    budget_ms = latency_budget(device, table)
    if budget_ms is not None and table.measured:
        share = budget.latency_share
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

    `size_mb` is the weights and `memory_mb` the peak activation memory, both in the search
    precision and in megabytes (10^6 bytes). Memory is computed only if it has a budget, because
    every new block's forward pass is traced for it.
    """
    precision = search_precision(device)
    latency = latency_cost(table, precision) if table.measured else None
    size_mb, memory_mb = weights_mb(precision), peak_memory_mb(precision)

    def costs(architecture: Architecture) -> dict[str, float | None]:
        limited = device.budget.memory_mb is not None
        return {
            "latency_ms": None if latency is None else rounded(latency(architecture)),
            "flops": flops(architecture),
            "parameters": parameters(architecture),
            "size_mb": rounded(size_mb(architecture)),
            "memory_mb": rounded(memory_mb(architecture)) if limited else None,
        }

    return costs
