"""A device's budgets as costs of architectures: what is predicted, and what can be met at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from devices.backends import backend
from devices.device import Device, Precision
from devices.latency import LatencyError, LatencyTable
from models.architecture import Architecture, Block
from models.block_tables import ChoicesNG, block_table
from models.constrained import nearest_within
from models.cost_tables import activation_table
from models.costs import (
    block_flops,
    block_parameters,
    flops,
    parameters,
    peak_activation_bytes,
)
from models.operators import activation_bytes
from models.space import SearchSpace
from models.stage_features import stage_features
from stages.common.files import read_json, rounded
from stages.common.latencies import latencies
from stages.common.schemas import LATENCY

BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes per weight, by precision."""
UNITS = {
    "latency_ms": "predicted latency (ms)",
    "flops": "multiply-accumulates",
    "parameters": "parameters",
    "size_mb": "weights (MB)",
    "memory_mb": "peak activation memory (MB)",
}
"""What a budget's axis in a picture is called."""
_ATTEMPTS = 50

Floats = npt.NDArray[np.float64]
CostOf = Callable[[Architecture], float]
BlockCost = Callable[[Block], float]
ManyCosts = Callable[[SearchSpace], Callable[[ChoicesNG], Floats]]
"""For a space, from the choices of N architectures, (N, G), to their costs, (N,)."""


class InfeasibleBudgetError(ValueError):
    """No architecture of the space meets a device's budgets; the message names the nearest."""


@dataclass(frozen=True)
class Limit:
    """One budget of a device.

    Attributes:
        key: its name under `devices.NAME.budget`, such as `latency_ms`.
        budget: the largest cost allowed, in the key's unit.
        cost: an architecture's cost in that unit.
        block_cost: a block's share of it.
        exact: whether the architecture with the smallest sum of shares has the smallest cost. A
            latency regression is no such sum: there that architecture only bounds the smallest
            cost from above.
        peak: whether an architecture costs what its dearest block does, not the sum of shares.
        many: the costs of many architectures of a space at once; None where that is not known.
        setting: its name in the params where that is another: `latency_share`.
        per_setting: the cost's unit per unit of that setting; 1 where it is the same.
    """

    key: str
    budget: float
    cost: Callable[[Architecture], float]
    block_cost: Callable[[Block], float]
    exact: bool = True
    peak: bool = False
    many: ManyCosts | None = None
    setting: str | None = None
    per_setting: float = 1.0

    @property
    def named(self) -> str:
        """Its name in the params."""
        return self.setting or self.key

    def in_words(self, cost: float, digits: str = ".4g") -> str:
        """A cost as the params would name it; a share of latency with its milliseconds."""
        if self.setting is None:
            return f"{cost:{digits}}"
        return f"{cost / self.per_setting:{digits}} ({cost:.4g} ms)"

    def cheapest(self, space: SearchSpace) -> Architecture:
        """The architecture of the space with the smallest cost, as far as blocks tell."""
        return space.extreme(self.block_cost, peak=self.peak)

    def excess(self, architecture: Architecture) -> float:
        """By what fraction of the budget the cost passes it; 0 within it."""
        return max(0.0, self.cost(architecture) / self.budget - 1.0)


def read_latency_table(profile: Path) -> LatencyTable:
    """The table that the stage `profile` left in a folder.

    Raises:
        FileFormatError: `latency.json` is missing or of another kind.
        LatencyError: it is incomplete.
    """
    return LatencyTable.from_json(read_json(profile / "latency.json", LATENCY))


def search_precision(device: Device) -> Precision:
    """The precision whose latency and size are predicted before any exists.

    With `auto` it is the backend's first, float32 wherever it is offered: whether a lower
    precision keeps the accuracy is known only after training, and without it float32 is what must
    keep the budgets.
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
        LatencyError: a block or the precision was never profiled.
    """
    keys = [block.key for block in architecture.present]
    if table.additive(precision):
        return table.predict(keys, precision)
    return table.predict(keys, precision, stage_features(architecture, table.stages))


def latency_budget(device: Device, table: LatencyTable) -> float | None:
    """The device's latency budget in milliseconds per image, in the clock of its profile.

    The one place where `budget.latency_share` becomes milliseconds.

    Returns:
        None without a latency budget, and where a share is of a latency that was not measured.

    Raises:
        LatencyError: the profile does not say what the space's largest network takes.
    """
    share = device.budget.latency_share
    if share is None or not table.measured:
        return device.budget.latency_ms
    if table.largest_ms is None:
        raise LatencyError(
            f"'{table.device}' was profiled without its largest network, of whose latency "
            f"budget.latency_share is a share. Profile again: netwright profile {table.device}"
        )
    return rounded(share * table.largest_ms)


def with_milliseconds(device: Device, table: LatencyTable) -> Device:
    """The device with a latency budget in milliseconds in the place of its share, where known."""
    budget_ms = latency_budget(device, table)
    if device.budget.latency_share is None or budget_ms is None:
        return device
    changes = {"latency_ms": budget_ms, "latency_share": None}
    return device.model_copy(update={"budget": device.budget.model_copy(update=changes)})


def limits(device: Device, table: LatencyTable, latency_margin: float = 0.0) -> tuple[Limit, ...]:
    """The device's budgets that can be predicted.

    A latency budget is left out where the device was not measured. `size_mb` counts
    the weights alone, their number times the bytes of the precision searched in; the gate weighs
    the whole bundle.

    Args:
        device: whose budgets.
        table: its latency model.
        latency_margin: fraction of the latency budget to leave free: of the networks predicted
            to lie just within it, half would be measured beyond.
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
    """A limit on a sum over blocks times `scale`."""

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
    """The limit on activations alive at once: the dearest block's, for blocks run in turn."""
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
    """Megabytes (10^6 bytes) of activations alive at once for one image, in a precision."""
    return peak_activation_bytes(architecture) * _memory_scale(precision)


def _memory_scale(precision: Precision) -> float:
    """Megabytes per byte as `models.costs` counts them, which is in float32."""
    return BYTES[precision] / BYTES["float32"] / 1e6


def predicted_costs(
    device: Device, table: LatencyTable
) -> Callable[[Architecture], dict[str, float | None]]:
    """What an architecture costs on the device; None for a latency that was not measured.

    `size_mb` are the weights and `memory_mb` the activations alive at once, both in the precision
    searched in and in megabytes (10^6 bytes). Memory is counted only where it has a budget: the
    forward pass of every new block is followed for it.
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


def total_excess(architecture: Architecture, limits: Sequence[Limit]) -> float:
    """The sum over the limits of the fraction by which each is passed; 0 within all of them."""
    return sum(limit.excess(architecture) for limit in limits)


def require_feasible(space: SearchSpace, name: str, limits: Sequence[Limit], seed: int = 0) -> None:
    """Stop at once when no architecture of the space can meet the device's budgets.

    A budget whose cost is `exact` is decided alone by its cheapest architecture. Others, and
    several together, are searched for from many starts; finding none is reported as such.

    Args:
        space: the architectures there are.
        name: the device's name, for the message.
        limits: its budgets.
        seed: of the starts.

    Raises:
        InfeasibleBudgetError: a budget, or all of them together, cannot be met.
    """
    cheapest = [limit.cheapest(space) for limit in limits]
    for limit, architecture in zip(limits, cheapest, strict=True):
        least = limit.cost(architecture)
        if limit.exact and least > limit.budget:
            raise InfeasibleBudgetError(
                f"no architecture of space '{space.name}' keeps {limit.named} within "
                f"{limit.in_words(limit.budget, 'g')} on '{name}': the nearest, {architecture.id} "
                f"({architecture.short()}), needs {limit.in_words(least)}. Raise "
                f"devices.{name}.budget.{limit.named} or add smaller options to the space."
            )
    if not limits or any(total_excess(a, limits) == 0 for a in cheapest):
        return

    def excess(choices: tuple[int, ...]) -> float:
        return total_excess(space.architecture(choices), limits)

    rng = np.random.default_rng(seed)
    seen, over = nearest_within(space.groups, excess, rng, _ATTEMPTS)
    if over <= 0:
        return
    nearest = min([space.architecture(seen), *cheapest], key=lambda a: total_excess(a, limits))
    costs = ", ".join(
        f"{x.named} {x.in_words(x.cost(nearest))} of {x.in_words(x.budget, 'g')}" for x in limits
    )
    raises = " and ".join(
        f"devices.{name}.budget.{x.named} to {x.in_words(x.cost(nearest))}"
        for x in limits
        if x.excess(nearest) > 0
    )
    exact = all(limit.exact for limit in limits)
    alone = f"each budget of '{name}' can be met alone, but " if exact else ""
    what = "all together" if len(limits) > 1 else f"the budget of '{name}'"
    raise InfeasibleBudgetError(
        f"{alone}no architecture of space '{space.name}' that meets {what} was found in "
        f"{_ATTEMPTS} searches; the nearest seen is {nearest.id} ({nearest.short()}) with {costs}. "
        f"It asks to raise {raises}. Or add smaller options to the space."
    )
