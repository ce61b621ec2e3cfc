"""Latency of the space's largest network, which `budget.latency_share` refers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.files import rounded
from devices.device import Device
from devices.latency.budgets import search_precision
from devices.latency.cost import predict_ms
from devices.latency.networks import network_key
from devices.latency.table import LatencyTable
from devices.measure.interleaved import Measurement
from models.space.costs import block_flops
from models.space.space import SearchSpace


def with_largest(
    table: LatencyTable,
    space: SearchSpace,
    device: Device,
    found: Mapping[str, float | Measurement],
) -> LatencyTable:
    """Add the latency of the space's largest network, in the search precision, to the table.

    Args:
        table: the device's latency model.
        space: the device's search space.
        device: its settings.
        found: measured networks by `network_key`: milliseconds, or with their intervals. If the
            largest is missing (an imported table may contain only blocks), its latency is
            predicted, without an interval.
    """
    largest, precision = space.extreme(block_flops, largest=True), search_precision(device)
    measured = found.get(network_key(largest, precision))
    if measured is None:
        return replace(table, largest_ms=rounded(predict_ms(table, largest, precision)))
    if not isinstance(measured, Measurement):
        return replace(table, largest_ms=rounded(measured))
    low, high = (round(ms, 6) for ms in measured.interval)
    return replace(table, largest_ms=rounded(measured.ms), largest_interval=(low, high))
