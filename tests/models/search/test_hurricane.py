import csv
import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from devices.device import Budget, Device
from devices.latency.budgets import limits
from devices.latency.device_profile import DeviceProfile
from models.search.algorithms.base import Result
from models.search.algorithms.hurricane import Hurricane
from models.search.algorithms.operator_pool import (
    kept_operators,
    operators_csv,
    operators_md,
    score_operators,
)
from models.search.problem import OperatorCosts, Pool, Problem, problem_of
from models.search.settings import SearchParams
from models.space.costs import Cost
from models.space.distribution import Choices
from models.space.groups import single
from models.space.limits import Limit
from tests.worlds import each

LAYERS = 6
GROUPS = tuple(single(f"stage1.layer{i + 1}", "v", (0, 1, 2, 3)) for i in range(LAYERS))
OFFERS = (
    OperatorCosts("skip", 0.0, 0, 0),
    OperatorCosts("small", 1.0, 10, 10),
    OperatorCosts("dear", 8.0, 20, 20),
    OperatorCosts("large", 4.0, 100, 50),
)
POOL = Pool("latency_ms", (OFFERS,) * LAYERS)
COST = np.array([costs.cost for costs in OFFERS])


def limited(budget: float, pool: Pool | None = POOL) -> Problem:
    def excess(choices: Choices) -> float:
        return max(0.0, float(COST[list(choices)].sum()) / budget - 1)

    return Problem(GROUPS, each(excess), 64, pool=pool)


def nll(choices: Choices) -> float:
    return -float(sum((at + 1) * (0, 1, 3, 2)[choice] for at, choice in enumerate(choices)))


def run(searched: Hurricane, steps: int, first: int = 0) -> list[list[Choices]]:
    proposals = []
    for step in range(first, steps):
        proposed = searched.propose(np.random.default_rng(step))
        excess = searched.problem.excess
        searched.observe([Result(c, nll(c), excess(c)) for c in proposed])
        proposals.append(proposed)
    return proposals


def make(params: Callable[..., SearchParams], problem: Problem, **changes: object) -> Hurricane:
    settings = {
        "operators_per_layer": 1,
        "late_share": 0.5,
        "late_steps": 0.5,
        "population": 6,
        "tournament": 3,
    }
    return Hurricane(problem, params("hurricane", steps=20, **settings | changes))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_stage_1_leaves_early_layers_alone_and_stage_2_late_ones(
    params: Callable[..., SearchParams], share: float
) -> None:
    searched = make(params, limited(14.0), late_share=share)
    proposals = run(searched, 20)
    cut = searched.first_late
    assert cut == LAYERS - round(share * LAYERS)
    first = [choices for step in proposals[:10] for choices in step]
    second = [choices for step in proposals[10:] for choices in step]
    assert {c[:cut] for c in first} == {(searched.default or ())[:cut]}
    assert len({c[cut:] for c in first}) > 1
    winner = min(first, key=lambda c: (nll(c), c))
    assert searched.winner == winner
    assert {c[cut:] for c in second} == {winner[cut:]}
    assert len({c[:cut] for c in second}) > 1


def test_only_the_devices_operators_are_ever_proposed(
    params: Callable[..., SearchParams],
) -> None:
    searched = make(params, limited(14.0))
    proposals = run(searched, 20)
    used = {option for step in proposals for choices in step for option in choices}
    assert 2 not in used  # "dear" offers less for more
    assert used == {0, 1, 3}
    answered = searched.answer(8, np.random.default_rng(0))
    assert 2 not in {option for choices in answered for option in choices}


def test_operators_are_scored_by_capacity_per_cost() -> None:
    layer = score_operators(OFFERS)
    assert [one.costs.label for one in layer] == ["large", "small", "dear", "skip"]
    large = (100 * 50) ** 0.5 / 4
    assert [one.score for one in layer[:3]] == pytest.approx([1, 10 / large, 20 / 8 / large])
    assert kept_operators(layer, 1) == {0: "no weights", 1: "cheapest", 3: "score"}
    assert kept_operators(layer, 3) == {0: "no weights", 1: "score", 2: "score", 3: "score"}


def test_the_table_says_which_operator_won_where_and_why() -> None:
    rows = list(csv.DictReader(io.StringIO(operators_csv(POOL, GROUPS, 1).decode())))
    assert len(rows) == LAYERS * len(OFFERS)
    assert [r["operator"] for r in rows if r["kept"] == "yes"][:3] == ["large", "small", "skip"]
    assert rows[2] == {
        "layer": "stage1.layer1", "operator": "dear", "rank": "3", "score": "0.1414",
        "latency_ms": "8", "flops": "20", "parameters": "20", "kept": "no", "why": "",
    }  # fmt: skip
    text = operators_md(POOL, GROUPS, 2, 1).decode()
    assert "| stage1.layer1 | large (1.00); small (0.57); skip |" in text
    assert "the 2 with the highest score (1 requested" in text
    assert len({line.count("|") for line in text.splitlines() if "dear" in line}) == 1


def test_more_operators_are_kept_where_the_budgets_need_them(
    params: Callable[..., SearchParams],
) -> None:
    # The pool was measured in one unit, and another budget admits only "dear".
    def excess(choices: Choices) -> float:
        return float(sum(choice != 2 for choice in choices))

    searched = make(params, dataclasses.replace(limited(14.0), excesses=each(excess)))
    assert run(searched, 1)[0][0] == (2,) * LAYERS
    assert searched.operators == 3
    assert b"the 3 with the highest score (1 requested" in searched.artifacts()["operators.md"]


def test_without_a_pool_every_operator_is_searched(params: Callable[..., SearchParams]) -> None:
    searched = make(params, limited(99.0, pool=None))
    used = {o for step in run(searched, 20) for choices in step for o in choices}
    assert used == {0, 1, 2, 3}
    assert searched.artifacts() == {}


def test_the_pool_of_a_space_is_what_its_device_measured(world: Any) -> None:
    table = DeviceProfile.read(world.root / "profile").table
    device = Device(backend="onnxruntime", budget=Budget(latency_ms=0.06), min_accuracy=0.5)
    pool = problem_of(world.space, limits(device, table), 64).pool
    assert pool is not None
    assert pool.unit == "latency_ms"
    by_group = dict(zip([group.name for group in world.space.groups], pool.operators, strict=True))
    assert by_group["stage1.channels"] == ()
    for costs in by_group["stage2.layer2"]:  # in the small world a block takes half a ns a MAC
        assert costs.cost == pytest.approx(costs.flops / 2e6, rel=1e-3)
    labels = [costs.label for costs in by_group["stage2.layer2"]]
    assert (labels[0], labels[-1]) == ("mbconv kernel=3 expansion=2", "skip")
    assert by_group["stage2.layer2"][-1].flops == 0
    assert problem_of(world.space, [], 64).pool is None


def test_channels_go_with_their_stages_first_layer(
    world: Any, params: Callable[..., SearchParams]
) -> None:
    cost = Limit("flops", 1e9, Cost(lambda block: 1.0))
    problem = problem_of(world.space, [cost], 64)
    names = [group.name for group in world.space.groups]
    assert names[make(params, problem, late_share=0.5).first_late] == "stage2.channels"
    assert names[make(params, problem, late_share=0.25).first_late] == "stage2.layer2"
