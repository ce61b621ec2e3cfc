"""Latency budgets as shares: conversion to milliseconds, and messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import UserError
from devices.device import Budget, Device
from devices.latency.budgets import latency_budget, limits, with_largest, with_milliseconds
from devices.latency.cost import predict_ms
from devices.latency.table import Correction, LatencyTable, network_key
from devices.measure.interleaved import Measurement
from models.space.costs import block_flops
from models.space.limits import InfeasibleBudgetError, require_feasible
from models.space.space import SearchSpace
from tests.spaces import all_architectures

SPACE = Path(__file__).parents[3] / "tests/pipelines/space.yaml"


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace.load(SPACE, (1, 16, 16), 10)


@pytest.fixture
def table(space: SearchSpace) -> LatencyTable:
    """A table in which a network takes 0.5 ms plus 1 us per 1000 MACs."""
    blocks = {block.key: block for block in space.blocks()}
    return LatencyTable(
        "here",
        "onnxruntime",
        {key: block_flops(block) / 1e6 for key, block in blocks.items()},
        {key: block_flops(block) for key, block in blocks.items()},
        {"float32": Correction(1.0, 0.0, 0.0, 0.5)},
        {},
    )


def device(**budget: float) -> Device:
    return Device(backend="onnxruntime", budget=Budget(**budget), min_accuracy=0)


def test_a_share_is_of_the_largest_networks_measured_latency(
    space: SearchSpace, table: LatencyTable
) -> None:
    key = network_key(space.extreme(block_flops, largest=True), "float32")
    measured = with_largest(table, space, device(flops=1), {key: Measurement(
        4.0, 3.5, 4.5, 0.1, 0.2, 9, 1.0
    )})  # fmt: skip
    assert (measured.largest_ms, measured.largest_interval) == (0.8, (0.7, 0.9))
    assert LatencyTable.from_json(measured.to_json()) == measured
    assert latency_budget(device(latency_share=0.5), measured) == pytest.approx(0.4)
    assert latency_budget(device(latency_ms=0.3), measured) == 0.3
    assert latency_budget(device(flops=1), measured) is None
    (limit,) = limits(device(latency_share=0.5), measured, latency_margin=0.1)
    assert limit.key == "latency_ms", "everything after goes by milliseconds"
    assert limit.budget == pytest.approx(0.36)
    told = with_milliseconds(device(latency_share=0.5, flops=9), measured)
    assert told.budget == Budget(latency_ms=0.4, flops=9)


def test_in_an_imported_table_of_blocks_alone_the_largest_network_is_predicted(
    space: SearchSpace, table: LatencyTable
) -> None:
    known = with_largest(table, space, device(latency_share=0.5), {})
    largest = space.extreme(block_flops, largest=True)
    assert known.largest_ms == pytest.approx(predict_ms(table, largest, "float32"), abs=1e-6)
    assert known.largest_interval is None


def test_a_share_of_what_was_not_measured_stays_a_share() -> None:
    unmeasured = LatencyTable.unmeasured("here", "onnxruntime")
    mine = device(latency_share=0.5, flops=9)
    assert latency_budget(mine, unmeasured) is None
    assert with_milliseconds(mine, unmeasured) == mine
    assert [limit.key for limit in limits(mine, unmeasured)] == ["flops"]


def test_a_profile_without_the_largest_network_is_refused(table: LatencyTable) -> None:
    with pytest.raises(UserError, match="Profile again: netwright profile here"):
        latency_budget(device(latency_share=0.5), table)


def test_a_share_below_the_smallest_network_is_infeasible_and_told_as_a_share(
    space: SearchSpace, table: LatencyTable
) -> None:
    known = with_largest(table, space, device(flops=1), {})
    assert known.largest_ms is not None
    least = (
        min(predict_ms(table, one, "float32") for one in all_architectures(space))
        / known.largest_ms
    )
    for factor, feasible in ((1.001, True), (0.999, False)):
        found = limits(device(latency_share=least * factor), known)
        if feasible:
            require_feasible(space, "here", found)
            continue
        with pytest.raises(InfeasibleBudgetError) as caught:
            require_feasible(space, "here", found)
        assert f"needs {least:.4g} (" in str(caught.value)
        assert "Raise devices.here.budget.latency_share" in str(caught.value)


def test_latency_is_limited_once_and_by_no_more_than_the_whole() -> None:
    with pytest.raises(ValidationError, match="limit the same latency: remove one"):
        Budget(latency_ms=1.0, latency_share=0.5)
    for wrong in (0.0, -0.5, 1.01):
        with pytest.raises(ValidationError):
            Budget(latency_share=wrong)
    assert Budget(latency_share=1.0).latency_key == "latency_share"


def test_an_interval_moves_to_another_sessions_milliseconds_with_its_median() -> None:
    moved = Measurement(4.0, 3.0, 6.0, 0.1, 0.5, 9, 1.0).rescale(0.25)
    assert (moved.ms, moved.interval) == (1.0, (0.75, 1.5))
