import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from core.errors import UserError
from models.search.algorithms import exhaustive
from models.search.algorithms.base import Algorithm, Result
from models.search.algorithms.exhaustive import Exhaustive, best_of_all
from models.search.problem import Problem
from models.search.settings import SearchParams
from models.space.distribution import Choices
from models.space.groups import single
from models.space.limits import InfeasibleBudgetError
from tests.worlds import each

SIZES = (3, 4, 2, 5, 3)
GROUPS = tuple(single(f"g{i}", "v", tuple(range(size))) for i, size in enumerate(SIZES))
ALL = list(itertools.product(*map(range, SIZES)))
COST = np.random.default_rng(0).uniform(1, 2, size=5)
SCORE = np.random.default_rng(1).normal(size=SIZES)

Make = Callable[..., SearchParams]


def limited(budget: float) -> Problem:
    def excess(choices: Choices) -> float:
        return max(0.0, float(COST @ np.array(choices)) / budget - 1)

    return Problem(GROUPS, each(excess), 64, indicators={"bn_indicator": score})


def score(choices_NG: np.ndarray) -> np.ndarray:
    found: np.ndarray = SCORE[tuple(choices_NG.T)]
    return found


def run(searched: Algorithm, nll: Callable[[Choices], float], steps: int) -> list[Choices]:
    for step in range(steps):
        proposed = searched.propose(np.random.default_rng(step))
        seen = searched.evaluation_mode != "no_images"
        searched.observe(
            [Result(c, nll(c) if seen else None, searched.problem.excess(c)) for c in proposed]
        )
    return searched.answer(7, np.random.default_rng(0))


@pytest.mark.parametrize("chunk", [7, 100, 1000])
@pytest.mark.parametrize("budget", [3.0, 9.0, 100.0])
def test_the_answer_is_what_brute_force_finds(
    monkeypatch: pytest.MonkeyPatch, params: Make, chunk: int, budget: float
) -> None:
    monkeypatch.setattr(exhaustive, "_CHUNK", chunk)
    problem = limited(budget)
    within = [c for c in ALL if problem.excess(c) <= 0]
    expected = sorted(within, key=lambda c: -SCORE[c])[:7]
    section = params("exhaustive", by="bn_indicator")
    assert run(Exhaustive(problem, section), lambda c: 0.0, 3) == expected


def test_a_tiny_space_is_evaluated_whole(params: Make) -> None:
    section = params("exhaustive", steps=10, by="supernet")
    searched = Exhaustive(limited(9.0), section)
    answer = run(searched, lambda c: float(SCORE[c]), 10)
    within = [c for c in ALL if searched.problem.excess(c) <= 0]
    assert searched.samples == len(within)
    assert answer == sorted(within, key=lambda c: SCORE[c])[:7]


def test_a_predictor_finds_the_optimum_of_what_it_can_express(params: Make) -> None:
    """An additive NLL is what a regression on candidates can learn from a sample."""
    parts = [np.random.default_rng(i).normal(size=size) for i, size in enumerate(SIZES)]

    def nll(choices: Choices) -> float:
        return float(sum(part[c] for part, c in zip(parts, choices, strict=True)))

    problem = limited(9.0)
    searched = Exhaustive(problem, params("exhaustive", steps=20, fixed_samples=4))
    best = min((c for c in ALL if problem.excess(c) <= 0), key=nll)
    assert run(searched, nll, 20)[0] == best
    assert searched.samples == 80


def test_a_space_too_large_is_refused_with_its_size_and_the_way_out(params: Make) -> None:
    groups = tuple(single(f"g{i}", "v", tuple(range(10))) for i in range(8))
    huge = Problem(groups, each(lambda c: 0.0), 64)
    with pytest.raises(UserError, match=r"100,000,000 architectures.*10,000,000.*evolut"):
        Exhaustive(huge, params("exhaustive"))
    with pytest.raises(UserError, match=r"360 .*at most 100 .*raise search\.algorithm"):
        Exhaustive(limited(9.0), params("exhaustive", by="supernet", supernet_limit=100))


def test_that_nothing_is_within_the_budgets_comes_with_the_nearest() -> None:
    problem = dataclasses.replace(limited(9.0), excesses=each(lambda c: 0.25 + sum(c)))
    with pytest.raises(InfeasibleBudgetError, match=r"none of the space's 360 .* by 25\.00%"):
        best_of_all(problem, score, 3)
