"""Vectorised latencies equal those of single architectures exactly."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from devices.latency.cost import latency_cost, predict_ms
from devices.latency.regression import fit_regression
from devices.latency.table import Choice, Correction, LatencyTable
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.space.stage_features import StageFeatureTables, stage_features, stage_sizes
from tests.spaces import sample_choices

SPACES = {"compact": (1, 28, 28), "fox": (3, 224, 224), "macro": (3, 32, 32)}


def space_of(name: str) -> SearchSpace:
    return SearchSpace.load(Path(f"models/spaces/{name}.yaml"), SPACES[name], 10)


def table_of(space: SearchSpace, regression: bool) -> LatencyTable:
    """A table with pseudo-random block latencies and, optionally, an int8 regression."""
    ms = {b.key: 0.01 + zlib.crc32(b.key.encode()) % 997 / 7e4 for b in space.blocks()}
    macs = {block.key: block_flops(block) for block in space.blocks()}
    correction = {"int8": Correction(0.7, 0.01, -0.001, 0.3)}
    sizes = stage_sizes(space.groups)
    table = LatencyTable("d", "b", ms, macs, correction, {}, stages=sizes)
    if not regression:
        return table
    rng = np.random.default_rng(0)
    seen = [stage_features(space.sample(rng), sizes) for _ in range(40)]
    fitted = fit_regression(seen, [1 + 0.1 * sum(row.values()) for row in seen])
    choices = {"int8": Choice("regression", {}, {})}
    return replace(table, regressions={"int8": fitted}, choices=choices)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("regression", [False, True])
def test_latencies_are_those_of_one_architecture_at_a_time(name: str, regression: bool) -> None:
    space = space_of(name)
    table = table_of(space, regression)
    choices = sample_choices(space, 50, np.random.default_rng(1))
    found = latency_cost(table, "int8").table(space)(choices).tolist()
    networks = [space.architecture(row) for row in choices.tolist()]
    assert found == [predict_ms(table, network, "int8") for network in networks]
    assert len(set(found)) > 40


@pytest.mark.parametrize("name", [*SPACES, "fbnet"])
def test_features_are_those_of_one_architecture_at_a_time(name: str) -> None:
    shape = SPACES.get(name, (3, 224, 224))
    space = SearchSpace.load(Path(f"models/spaces/{name}.yaml"), shape, 10)
    choices = sample_choices(space, 30, np.random.default_rng(2))
    columns = StageFeatureTables(space).features(choices)
    for at, row in enumerate(choices.tolist()):
        expected = stage_features(space.architecture(row), stage_sizes(space.groups))
        assert {key: column[at] for key, column in columns.items()} == expected


def test_a_block_that_was_never_measured_is_named() -> None:
    space = space_of("macro")
    table = table_of(space, regression=True)
    lost = space.blocks()[5].key
    known = {key: ms for key, ms in table.block_ms.items() if key != lost}
    with pytest.raises(UserError, match="was not measured on 'd'"):
        latency_cost(replace(table, block_ms=known), "int8").table(space)
    with pytest.raises(UserError, match="not profiled in float32"):
        latency_cost(table, "float32").table(space)
