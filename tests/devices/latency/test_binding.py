"""Which budgets bind: the largest network of the space exceeds them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from devices.device import Budget, Device
from devices.latency.binding import BudgetUse, budget_uses
from devices.latency.budgets import limits
from devices.latency.device_profile import DeviceProfile
from devices.latency.table import Correction, LatencyTable
from models.space.costs import block_flops, flops, parameters
from models.space.space import SearchSpace
from pipelines.checks.budgets import Setting
from pipelines.show.budget_table import UNPREPARED, BudgetRow, budget_rows, remarks
from tests.spaces import all_architectures

SPACE = Path(__file__).parents[3] / "tests/pipelines/space.yaml"
KEYS = ("latency_ms", "flops", "parameters", "size_mb", "memory_mb")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace.load(SPACE, (1, 16, 16), 10)


@pytest.fixture(scope="module")
def table(space: SearchSpace) -> LatencyTable:
    """A network takes 0.5 ms plus 1 us per 1000 MACs and 10 us per block."""
    blocks = {block.key: block for block in space.blocks()}
    return LatencyTable(
        "here",
        "onnxruntime",
        {key: block_flops(block) / 1e6 for key, block in blocks.items()},
        {key: block_flops(block) for key, block in blocks.items()},
        {"float32": Correction(1.0, 0.0, 0.01, 0.5)},
        {},
    )


def device(backend: str = "onnxruntime", **budget: float) -> Device:
    given = {} if backend == "onnxruntime" else {"compute_capabilities": ["SM89"]}
    return Device.model_validate(
        {"backend": backend, "budget": Budget(**budget), "min_accuracy": 0.0, **given}
    )


def test_the_ends_are_those_of_all_networks_of_the_space(
    space: SearchSpace, table: LatencyTable
) -> None:
    mine = device(latency_ms=9.0, flops=1, parameters=1, size_mb=1.0, memory_mb=1.0)
    every = list(all_architectures(space))
    found = {use.key: use for use in budget_uses(space, mine, table)}
    assert tuple(found) == KEYS
    for limit in limits(mine, table):
        costs = [float(limit.cost(architecture)) for architecture in every]
        assert found[limit.key].smallest == pytest.approx(min(costs), abs=1e-6)
        assert found[limit.key].largest == pytest.approx(max(costs), abs=1e-6)


def test_a_budget_binds_if_the_largest_network_exceeds_it(
    space: SearchSpace, table: LatencyTable
) -> None:
    most = int(flops(space.extreme(block_flops, largest=True)))
    for allowed, binds in ((most - 1, True), (most, False), (2 * most, False)):
        (use,) = budget_uses(space, device(flops=allowed), table)
        assert use.binds == binds
        assert (use.remark("one") is None) == binds
    remark = use.remark("one")
    assert remark is not None
    assert f"flops {2 * most:,} excludes no network; the largest takes 50% of it" in remark
    assert "Lower devices.one.budget.flops, or choose a space with larger networks" in remark


def test_a_share_of_latency_is_of_the_measured_network(
    space: SearchSpace, table: LatencyTable
) -> None:
    measured = replace(table, largest_ms=4.0, largest_interval=(3.9, 4.1))
    (half,) = budget_uses(space, device(latency_share=0.5), measured)
    assert (half.key, half.allowed, half.largest, half.binds) == ("latency_share", 0.5, 1.0, True)
    (whole,) = budget_uses(space, device(latency_share=1.0), measured)
    assert (whole.largest, whole.binds) == (1.0, False)
    (ms,) = budget_uses(space, device(latency_ms=5.0), measured)
    assert (ms.largest, ms.binds) == (4.0, False)


def test_a_latency_that_was_not_measured_is_left_out(space: SearchSpace) -> None:
    unmeasured = LatencyTable.unmeasured("here", "onnxruntime")
    (use,) = budget_uses(space, device(latency_ms=1.0, parameters=10), unmeasured)
    assert use.key == "parameters"
    assert use.largest == max(map(parameters, all_architectures(space)))


def test_the_profile_keeps_them(space: SearchSpace, table: LatencyTable, tmp_path: Path) -> None:
    (whole,) = budget_uses(space, device(latency_ms=9.0), table)
    half_ms = (whole.smallest + whole.largest) / 2
    uses = budget_uses(space, device(latency_ms=half_ms, flops=10**9), table)
    profile = DeviceProfile(table, budgets=uses)
    profile.write(tmp_path)
    assert DeviceProfile.read(tmp_path).budgets == uses
    assert [use.binds for use in uses] == [True, False]


def test_doctor_says_what_does_not_bind_and_what_is_not_measured(
    space: SearchSpace, table: LatencyTable
) -> None:
    setting = Setting(space, {"one": table}, {"rtx": None}, prepared=False)
    mine = device(latency_ms=50.0, flops=10, memory_mb=100.0)
    rows, _ = budget_rows("one", mine, setting)
    assert [row.key for row in rows if row.use is not None] == ["latency_ms", "flops", "memory_mb"]
    latency, memory = remarks("one", rows, setting)
    assert re.search(r"'one': the budget of latency_ms 50 excludes no network.*\d%", latency)
    assert "devices.one.budget.memory_mb" in memory
    assert latency.endswith(UNPREPARED)
    rows, _ = budget_rows("rtx", device("tensorrt", latency_ms=1.0, flops=10), setting)
    (unknown,) = remarks("rtx", rows, setting)
    assert "latency_ms 1 excludes any network is not known: the device was not measured" in unknown
    assert rows[0].cells() == ("1", "not measured yet", "not measured yet")


def test_ends_of_a_regression_are_bounds() -> None:
    use = BudgetUse(key="latency_ms", allowed=1.0, smallest=0.25, largest=0.5, exact=False)
    assert BudgetRow("latency_ms", 1.0, use).cells() == (
        "1", "at most 0.25 (25%)", "at least 0.5 (50%)"
    )  # fmt: skip
    assert "about 50%" in str(use.remark("one"))
