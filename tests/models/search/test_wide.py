"""Searching the preset `wide` by costs alone, without images."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from models.search.algorithms import ALGORITHMS
from models.search.evaluation import Evaluation
from models.search.loop import answer, search
from models.search.problem import problem_of
from models.space.architecture import Architecture
from models.space.costs import block_flops, depth, flops
from models.space.file import PRESETS, read_spec
from models.space.limits import Limit
from models.space.space import SearchSpace
from tests.worlds import search_params

SPACE = SearchSpace(read_spec(PRESETS / "wide.yaml"), (3, 32, 32), 10)
BUDGETS = (2.2e6, 12.5e6, 59e6)
USUAL = {"steps": 15, "batch": 64, "fixed_samples": 8, "candidates": 4, "population": 16}


def deep_is_good(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
    """An NLL that falls with depth and with MACs: the budget binds."""
    values = [1.0 - 0.02 * depth(a) - 0.02 * math.log(flops(a)) for a in architectures]
    return [Evaluation(value, math.exp(-value)) for value in values]


def test_every_budget_binds() -> None:
    least, most = (flops(SPACE.extreme(block_flops, largest)) for largest in (False, True))
    assert least < min(BUDGETS) / 4
    assert most > 2 * max(BUDGETS)


@pytest.mark.slow
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", ["fp_nas", "evolution", "hurricane", "random"])
def test_answers_respect_the_budget_and_differ(name: str, budget: float) -> None:
    problem = problem_of(SPACE, [Limit("flops", budget, flops)], 64)
    searched = ALGORITHMS[name](problem, search_params(name, USUAL))
    rows = search(searched, SPACE.architecture, deep_is_good, deep_is_good)
    found = [SPACE.architecture(choices) for choices in answer(searched)]
    assert len({one.id for one in found}) == 4
    assert all(flops(one) <= budget for one in found)
    assert len({row.architecture_id for row in rows}) > 8


def test_a_band_has_networks_of_every_scale() -> None:
    """Resolution and strides are real choices at 12.5 million multiply-accumulates."""
    rng, cost = np.random.default_rng(0), flops.table(SPACE)
    choices_NG = np.stack([rng.integers(len(g.candidates), size=20_000) for g in SPACE.groups], 1)
    costs_N = cost(choices_NG.astype(np.uint16))
    within_N = (costs_N >= 0.9 * 12.5e6) & (costs_N <= 12.5e6)
    assert set(choices_NG[within_N, 0].tolist()) == set(range(len(SPACE.scales)))
    assert 0.01 < within_N.mean() < 0.2
