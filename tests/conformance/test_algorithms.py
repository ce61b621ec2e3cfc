"""One suite over every search algorithm, on a tabular problem with a known optimum."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

from models.search.algorithms import ALGORITHMS, Algorithm
from models.search.algorithms.base import Result
from models.search.algorithms.fp_nas import FpNas
from models.search.evaluation import Evaluation
from models.search.loop import Row, Snapshot, answer, search
from models.search.problem import Problem, problem_of
from models.space.architecture import Architecture
from models.space.costs import Cost, block_flops, flops
from models.space.distribution import Choices
from models.space.limits import InfeasibleBudgetError, Limit, require_feasible
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec
from tests.worlds import each, search_params

IMAGES = 256
USUAL = {
    "steps": 40,
    "batch": IMAGES,
    "learning_rate": 1.0,
    "fixed_samples": 4,
    "candidates": 6,
    "moves": 8,
}
STAGE = {
    "layers": 3,
    "stride": 2,
    "channels": [8, 12, 16],
    "skip": True,
    "operators": {"mbconv": {"kernel": [3, 5], "expansion": [3, 6]}},
}
SPEC = {
    "name": "tabular",
    "sizes": (8, 64),
    "stem": {"operator": "conv", "channels": 8, "stride": 2, "settings": {"kernel": 3}},
    "stages": [STAGE, STAGE],
    "head": {"operator": "classifier", "settings": {"width": 16}},
}
SPACE = SearchSpace(SpaceSpec.model_validate(SPEC), (1, 28, 28), 10)
SMALLEST = flops(SPACE.extreme(block_flops))
LARGEST = flops(SPACE.extreme(block_flops, largest=True))


def limit(budget: float) -> Limit:
    return Limit("flops", budget, flops)


LIMITS = [limit(SMALLEST + 0.3 * (LARGEST - SMALLEST))]


class Table:
    """NLLs that decrease with network size, plus an offset per candidate and noise."""

    def __init__(self, seed: int, noise: float = 0.01) -> None:
        rng = np.random.default_rng(seed)
        self.seed, self.noise = seed, noise
        self.batches = 0.03  # standard deviation of the batches' difficulty
        self.offsets = [rng.normal(scale=0.03, size=len(g.candidates)) for g in SPACE.groups]

    def true(self, architecture: Architecture) -> float:
        choices = SPACE.choices(architecture)
        offsets = sum(o[c] for o, c in zip(self.offsets, choices, strict=True))
        return float(0.6 - 0.05 * math.log(flops(architecture) / SMALLEST) + offsets)

    def fixed(self, step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Fixed images: noise per architecture, none per batch."""
        own = [np.random.default_rng([self.seed, int(a.id, 16)]) for a in architectures]
        noise = [float(rng.normal(scale=self.noise)) for rng in own]
        return [evaluation(self.true(a) + e) for a, e in zip(architectures, noise, strict=True)]

    def __call__(self, step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
        rng = np.random.default_rng([self.seed, step])
        batch = rng.normal(scale=self.batches)  # equal for all architectures
        noise = rng.normal(scale=self.noise, size=len(architectures))
        return [
            evaluation(self.true(a) + batch + e) for a, e in zip(architectures, noise, strict=True)
        ]


def evaluation(nll: float) -> Evaluation:
    """An evaluation with accuracy exp(-nll)."""
    return Evaluation(nll, math.exp(-nll))


def make(name: str, limits: Sequence[Limit] = (), **changes: object) -> Algorithm:
    problem = problem_of(SPACE, limits or LIMITS, IMAGES)
    return ALGORITHMS[name](problem, search_params(name, USUAL, **changes))


def run(
    searched: Algorithm,
    table: Table,
    resume: Snapshot | None = None,
    after: Callable[[Snapshot], None] | None = None,
) -> list[Row]:
    evaluate = table.fixed if searched.evaluation_mode == "held_out" else table
    return search(searched, SPACE.architecture, evaluate, table.fixed, resume, after)


every = pytest.mark.parametrize("name", sorted(ALGORITHMS))


@pytest.mark.slow
@every
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_all_candidates_respect_the_budgets_and_differ(name: str, share: float) -> None:
    limits = [limit(SMALLEST + share * (LARGEST - SMALLEST))]
    searched = make(name, limits, steps=10)
    run(searched, Table(0))
    found = answer(searched)
    assert len(set(found)) == len(found) == 6
    assert all(limits[0].excess(SPACE.architecture(c)) == 0 for c in found)


@every
def test_several_budgets_are_all_respected(name: str) -> None:
    limits = [*LIMITS, Limit("depth", 6, Cost(lambda block: 1.0))]
    searched = make(name, limits, steps=10)
    run(searched, Table(0))
    for choices in answer(searched):
        architecture = SPACE.architecture(choices)
        assert all(one.excess(architecture) == 0 for one in limits)


@pytest.mark.slow
@every
def test_the_same_seed_repeats_and_another_does_not(name: str) -> None:
    again, other = make(name), make(name, seed=1)
    rows, found, _, _ = whole(name)
    assert run(again, Table(0)) == rows
    assert answer(again) == found
    assert run(other, Table(0)) != rows


@cache
def whole(name: str) -> tuple[list[Row], list[Choices], str, list[str]]:
    """An uninterrupted search: rows, result, final state and all snapshots."""
    searched, saved = make(name), []
    rows = run(searched, Table(0), after=lambda one: saved.append(json.dumps(one.state())))
    return rows, answer(searched), json.dumps(searched.state()), saved


@pytest.mark.slow
@every
@pytest.mark.parametrize("stop", [1, 7, 20, 39, 40, 45, 58])
def test_a_search_resumed_in_the_middle_gives_the_same_result(name: str, stop: int) -> None:
    """After step 40 in the middle of the shortlist, where there is one."""
    rows, found, last, saved = whole(name)
    resumed = make(name)
    middle = Snapshot.restored(json.loads(saved[min(stop, len(saved)) - 1]))
    assert run(resumed, Table(0), middle) == rows
    assert answer(resumed) == found
    assert json.dumps(resumed.state()) == last


@every
def test_every_evaluated_architecture_is_counted_and_has_its_row(name: str) -> None:
    rows, _, last, _ = whole(name)
    steps = [row for row in rows if row.step < 40]
    assert json.loads(last)["samples"] == len(steps)
    assert [row.step for row in rows] == sorted(row.step for row in rows)
    assert {row.step for row in steps} == set(range(40))
    assert len(json.loads(last)["judged"]) == len(rows) - len(steps)
    assert (len(rows) > len(steps)) == (make(name).evaluation_mode == "batch")


@every
def test_candidates_are_ordered_on_the_same_images(name: str) -> None:
    """Batches differ ten times as much as architectures: no order by them is right."""
    searched, table = make(name, shortlist=4), Table(3, noise=0.0)
    table.batches = 1.0
    rows = run(searched, table)
    true = [table.true(SPACE.architecture(choices)) for choices in answer(searched)]
    assert true == sorted(true)
    if searched.evaluation_mode == "batch":
        again = [row.nll for row in rows if row.step == 40]
        assert len(again) == 6 * 4
        assert true[0] == min(again)


@every
def test_no_algorithm_proposes_beyond_a_budget(name: str) -> None:
    tight = [limit(SMALLEST + 0.03 * (LARGEST - SMALLEST))]
    assert {row.excess for row in whole(name)[0]} == {0}
    assert {row.excess for row in run(make(name, tight, steps=12), Table(1))} == {0}


@pytest.mark.slow
@every
def test_its_shares_are_shares(name: str) -> None:
    searched = make(name, steps=6)
    run(searched, Table(0))
    assert [len(group) for group in searched.shares()] == [len(g.candidates) for g in SPACE.groups]
    assert all(group.sum() == pytest.approx(1) for group in searched.shares())
    assert all(type(content) is bytes for content in searched.artifacts().values())


@every
def test_an_infeasible_budget_is_refused_before_any_evaluation(name: str) -> None:
    def evaluate(step: int, architectures: Sequence[Architecture]) -> list[Evaluation]:
        raise AssertionError("the search must not start")

    searched = make(name, [limit(SMALLEST * 0.99)])
    with pytest.raises(InfeasibleBudgetError, match="no architecture"):
        search(searched, SPACE.architecture, evaluate, evaluate)


def test_the_refusal_names_the_nearest_architecture_and_the_fix() -> None:
    with pytest.raises(InfeasibleBudgetError) as error:
        require_feasible(SPACE, "watch", [limit(SMALLEST * 0.99)])
    message = str(error.value)
    assert SPACE.extreme(block_flops).id in message
    assert "devices.watch.budget.flops" in message
    assert f"{SMALLEST:.4g}" in message


def test_mutually_exclusive_budgets_are_reported() -> None:
    # Few FLOPs and large depth: each is feasible, but not both.
    blocks = len(SPACE.layers) + 2
    deep = Limit("shallowness", 0.1, Cost(lambda block: -1.0, constant=blocks + 0.05))
    with pytest.raises(InfeasibleBudgetError, match="each budget of 'watch' can be met alone"):
        require_feasible(SPACE, "watch", [limit(SMALLEST * 1.01), deep])


@every
def test_weights_of_a_step_add_up_to_one(name: str) -> None:
    rows = run(make(name, steps=5), Table(0))
    for step in range(5):
        assert sum(row.weight for row in rows if row.step == step) == pytest.approx(1)


def test_fp_nas_draws_fewer_as_the_distribution_sharpens_and_switches_once() -> None:
    searched, forms = make("fp_nas", samples_per_nat=1.0), []
    rows = run(searched, Table(0), after=lambda snapshot: forms.append(snapshot.algorithm["form"]))
    assert forms[:40] == ["factorised"] * 19 + ["joint"] * 21
    by_step = {row.step: row for row in rows if row.step < 40}
    for row in by_step.values():
        assert row.samples == max(3, round(row.entropy))
    assert by_step[39].entropy < 0.7 * by_step[0].entropy
    assert by_step[39].samples < by_step[0].samples


def test_parsec_is_joint_and_draws_as_many_in_every_step() -> None:
    searched = make("parsec", steps=8)
    assert searched.distribution.form == "joint"
    assert {row.samples for row in run(searched, Table(0)) if row.step < 8} == {4}


def mean_regret(name: str, worlds: int) -> tuple[float, float]:
    """Mean regret of the result's NLL, and mean number of evaluations in the steps."""
    regrets, evaluations = [], []
    for world in range(worlds):
        table, searched = Table(world), make(name, seed=world)
        rows = run(searched, table)
        regrets.append(table.true(SPACE.architecture(answer(searched)[0])) - best_nll(table))
        evaluations.append(sum(row.step < 40 for row in rows))
    return float(np.mean(regrets)), float(np.mean(evaluations))


def best_nll(table: Table) -> float:
    """A lower bound on every NLL within the budget, from the best offset of every group."""
    capacity = 0.05 * math.log(LIMITS[0].budget / SMALLEST)
    return 0.6 - capacity + sum(float(offsets.min()) for offsets in table.offsets)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - {"random", "parsec"}))
def test_learning_beats_random_search_with_no_more_evaluations(name: str) -> None:
    learnt, few = mean_regret(name, worlds=4)
    drawn, many = random_regret()
    assert few <= many
    assert learnt < 0.75 * drawn


@cache
def random_regret() -> tuple[float, float]:
    return mean_regret("random", worlds=4)


def test_the_mode_is_the_optimum_on_a_small_table() -> None:
    """Two groups, 12 architectures, no noise: the search must find the best one."""
    groups = SPACE.groups[:2]
    everything = list(itertools.product(*(range(len(g.candidates)) for g in groups)))
    rng = np.random.default_rng(5)
    nll = {c: float(rng.uniform(0.5, 0.6)) for c in everything}

    def excess(choices: Choices) -> float:
        return 0.0 if choices[0] < 2 else 0.5

    searched = FpNas(
        Problem(groups, each(excess), IMAGES), search_params("fp_nas", USUAL, steps=60)
    )
    for step in range(60):
        drawn = searched.propose(np.random.default_rng(step))
        searched.observe([Result(c, nll[c], excess(c)) for c in drawn])
    best = min((c for c in everything if excess(c) == 0), key=nll.__getitem__)
    assert searched.answer(1, rng) == [best]


def test_a_space_smaller_than_the_number_of_candidates_returns_all() -> None:
    groups = SPACE.groups[:1]
    for name in ALGORITHMS:
        searched = ALGORITHMS[name](
            Problem(groups, each(lambda c: 0.0), IMAGES), search_params(name, USUAL)
        )
        found = searched.answer(6, np.random.default_rng(0))
        assert sorted(found) == [(0,), (1,), (2,)]


def test_rows_are_plain_values() -> None:
    row = run(make("random", steps=1), Table(0))[0]
    assert all(type(value) in (int, float, str) for value in dataclasses.astuple(row))
