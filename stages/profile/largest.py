"""The space's largest network on a device, of whose latency `budget.latency_share` is a share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from devices.device import Device
from devices.latency import LatencyTable
from devices.measure import Measurement
from models.operators import macs
from models.space import SearchSpace
from stages.common.budgets import predict_ms, search_precision
from stages.common.files import rounded
from stages.profile.networks import network_key


def with_largest(
    table: LatencyTable,
    space: SearchSpace,
    device: Device,
    found: Mapping[str, float | Measurement],
) -> LatencyTable:
    """The table with the latency of the space's largest network in the precision searched in.

    Args:
        table: the device's latency model.
        space: the device's own.
        device: its settings.
        found: measured networks by `network_key`: milliseconds, or with their intervals. Where
            the largest is not among them (an imported table may hold blocks alone), its latency
            is predicted, and nothing is known of an interval.
    """
    largest, precision = space.extreme(macs, largest=True), search_precision(device)
    measured = found.get(network_key(largest, precision))
    if measured is None:
        return replace(table, largest_ms=rounded(predict_ms(table, largest, precision)))
    if not isinstance(measured, Measurement):
        return replace(table, largest_ms=rounded(measured))
    low, high = (round(ms, 6) for ms in measured.interval)
    return replace(table, largest_ms=rounded(measured.ms), largest_interval=(low, high))
