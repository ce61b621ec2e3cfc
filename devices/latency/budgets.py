"""A device's budgets as limits on predicted costs of architectures, and feasibility checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.files import read_json, rounded
from core.schemas import LATENCY
from devices.device import Device, Precision
from devices.latency.table import LatencyError, LatencyTable
from devices.latency.vectorized import latencies
from devices.runtimes.registry import backend
from models.space.architecture import Architecture
from models.space.block_tables import ChoicesNG, block_table
from models.space.cost_tables import activation_table
from models.space.costs import (
    block_flops,
    block_parameters,
    flops,
    parameters,
    peak_activation_bytes,
)
from models.space.limits import BlockCost, CostOf, Floats, Limit
from models.space.operators import activation_bytes
from models.space.space import SearchSpace
from models.space.stage_features import stage_features

BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes per weight, by precision."""


def read_latency_table(profile: Path) -> LatencyTable:
    """Read the latency table written by the stage `profile`.

    Raises:
        FileFormatError: `latency.json` is missing or has another schema.
        LatencyError: it is incomplete.
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


def predicted_latency(device: Device, table: LatencyTable) -> Callable[[Architecture], float]:
    """Milliseconds per image of an architecture on the device."""
    precision = search_precision(device)
    return lambda architecture: predict_ms(table, architecture, precision)


def predict_ms(table: LatencyTable, architecture: Architecture, precision: str) -> float:
    """Milliseconds per image of an architecture, by the model that the table uses.

    Raises:
        LatencyError: a block or the precision was not profiled.
    """
    keys = [block.key for block in architecture.present]
    if table.additive(precision):
        return table.predict(keys, precision)
    return table.predict(keys, precision, stage_features(architecture, table.stages))


def latency_budget(device: Device, table: LatencyTable) -> float | None:
    """The device's latency budget in milliseconds per image, normalised to its profile's reference.

    The only place where `budget.latency_share` is converted to milliseconds.

    Returns:
        None without a latency budget, or if it is a share and the device was not measured.

    Raises:
        LatencyError: the profile lacks the latency of the space's largest network.
    """
    share = device.budget.latency_share
    if share is None or not table.measured:
        return device.budget.latency_ms
    if table.largest_ms is None:
        raise LatencyError(
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
    budget, precision, found = device.budget, search_precision(device), []
    budget_ms = latency_budget(device, table)
    if budget_ms is not None and table.measured:
        share = budget.latency_share
        found.append(
            Limit(
                "latency_ms",
                budget_ms * (1 - latency_margin),
                predicted_latency(device, table),
                lambda block: table.block_cost(block.key, precision),
                exact=table.additive(precision),
                many=lambda space: latencies(space, table, precision),
                setting=None if share is None else "latency_share",
                per_setting=1.0 if share is None else budget_ms / share,
            )
        )
    scale = BYTES[precision] / 1e6
    if budget.flops is not None:
        found.append(_summed("flops", budget.flops, 1, flops, block_flops))
    if budget.parameters is not None:
        found.append(_summed("parameters", budget.parameters, 1, parameters, block_parameters))
    if budget.size_mb is not None:
        found.append(_summed("size_mb", budget.size_mb, scale, parameters, block_parameters))
    if budget.memory_mb is not None:
        found.append(_peak_memory(budget.memory_mb, precision))
    return tuple(found)


def _summed(key: str, budget: float, scale: float, cost: CostOf, block_cost: BlockCost) -> Limit:
    """Build a limit on a sum over blocks times `scale`."""

    def many(space: SearchSpace) -> Callable[[ChoicesNG], Floats]:
        table = block_table(space, lambda _, block: block_cost(block))
        return lambda choices_NG: table.sums(choices_NG) * scale

    return Limit(
        key,
        budget,
        lambda architecture: cost(architecture) * scale,
        lambda block: block_cost(block) * scale,
        many=many,
    )


def _peak_memory(budget_mb: float, precision: Precision) -> Limit:
    """Build the limit on peak activation memory: the maximum over blocks, which run in turn."""
    scale = _memory_scale(precision)

    def many(space: SearchSpace) -> Callable[[ChoicesNG], Floats]:
        table = activation_table(space)
        return lambda choices_NG: table.largest(choices_NG) * scale

    return Limit(
        "memory_mb",
        budget_mb,
        lambda architecture: peak_memory_mb(architecture, precision),
        lambda block: activation_bytes(block) * scale,
        peak=True,
        many=many,
    )


def peak_memory_mb(architecture: Architecture, precision: Precision) -> float:
    """Peak activation memory for one image in megabytes (10^6 bytes), in a precision."""
    return peak_activation_bytes(architecture) * _memory_scale(precision)


def _memory_scale(precision: Precision) -> float:
    """Megabytes per byte counted by `models.space.costs`, which assumes float32."""
    return BYTES[precision] / BYTES["float32"] / 1e6


def predicted_costs(
    device: Device, table: LatencyTable
) -> Callable[[Architecture], dict[str, float | None]]:
    """Return a function for an architecture's costs on the device; latency None if not measured.

    `size_mb` is the weights and `memory_mb` the peak activation memory, both in the search
    precision and in megabytes (10^6 bytes). Memory is computed only if it has a budget, because
    every new block's forward pass is traced for it.
    """
    latency = predicted_latency(device, table) if table.measured else None
    precision = search_precision(device)

    def costs(architecture: Architecture) -> dict[str, float | None]:
        limited = device.budget.memory_mb is not None
        return {
            "latency_ms": None if latency is None else rounded(latency(architecture)),
            "flops": flops(architecture),
            "parameters": parameters(architecture),
            "size_mb": rounded(parameters(architecture) * BYTES[precision] / 1e6),
            "memory_mb": rounded(peak_memory_mb(architecture, precision)) if limited else None,
        }

    return costs
