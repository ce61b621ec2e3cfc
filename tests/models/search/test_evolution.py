import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from core.errors import UserError
from models.search.algorithms.base import Result
from models.search.algorithms.evolution import Evolution, EvolutionSettings, Population
from models.search.problem import Problem
from models.search.settings import SearchParams
from models.space.distribution import Choices
from models.space.groups import Group, single
from tests.worlds import each

GROUPS: tuple[Group, ...] = tuple(single(f"g{i}", "v", (1, 2, 3, 4)) for i in range(6))


def excess(choices: Choices) -> float:
    return max(0.0, sum(choices) / 9 - 1)


def problem(**changes: object) -> Problem:
    return dataclasses.replace(Problem(GROUPS, each(excess), 64), **changes)  # type: ignore[arg-type]


def grown(settings: EvolutionSettings, rng: np.random.Generator) -> Population:
    population = Population(problem(), settings)
    while not population.full:
        for choices in population.breed(4, rng, set()):
            population.add(choices, -float(sum(choices)))
    return population


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("members", [1, 2])
def test_children_are_within_the_budgets_and_differ_from_their_parents(
    rate: float, members: int
) -> None:
    share = 0.0 if members == 1 else 1.0  # so that all members are parents of every child
    settings = EvolutionSettings(
        population=2, tournament=1, mutation_rate=rate, crossover_share=share
    )
    rng = np.random.default_rng(0)
    population = grown(settings, rng)
    del population.members[members:]
    parents = {choices for choices, _ in population.members}
    for _ in range(200):
        child = population.child(rng, set())
        assert child is not None
        assert excess(child) == 0
        assert child not in parents


def test_a_mixture_takes_every_group_from_a_parent_but_for_mutations() -> None:
    free = dataclasses.replace(problem(), excesses=each(lambda c: 0.0))
    settings = EvolutionSettings(
        population=2, tournament=1, mutation_rate=1e-9, crossover_share=1.0
    )
    population = Population(free, settings)
    population.add((0,) * 6, 0.0)
    population.add((3,) * 6, 0.0)
    rng = np.random.default_rng(1)
    children = [population.child(rng, set()) for _ in range(50)]
    assert {sum(c in (1, 2) for c in child or ()) for child in children} <= {0, 1}
    assert any(0 in (child or ()) and 3 in (child or ()) for child in children)


def test_a_mutation_changes_one_group_at_least() -> None:
    free = dataclasses.replace(problem(), excesses=each(lambda c: 0.0))
    settings = EvolutionSettings(population=2, mutation_rate=1e-9, crossover_share=0.0)
    population = Population(free, settings)
    population.add((1,) * 6, 0.0)
    rng = np.random.default_rng(1)
    children = [population.child(rng, set()) for _ in range(100)]
    changed = [[g for g in range(6) if c is not None and c[g] != 1] for c in children]
    assert {len(groups) for groups in changed} == {1}
    assert {groups[0] for groups in changed} == set(range(6))


def test_the_oldest_leave_however_fit_they_are() -> None:
    population = Population(problem(), EvolutionSettings(population=3))
    for number in range(5):
        population.add((0, 0, 0, 0, 0, number % 4), float(number))  # the first is the fittest
    assert [value for _, value in population.members] == [2.0, 3.0, 4.0]


def test_only_allowed_candidates_are_born() -> None:
    allowed = [(1,), (2,), (0, 3), (0, 1, 2, 3), (0,), (0, 1)]
    rng = np.random.default_rng(2)
    population = Population(problem(), EvolutionSettings(population=6), allowed)
    for _ in range(30):
        for choices in population.breed(2, rng, set()):
            assert all(c in known for c, known in zip(choices, allowed, strict=True))
            assert excess(choices) == 0
            population.add(choices, 0.0)


def test_the_bn_indicator_replaces_images(params: Callable[..., SearchParams]) -> None:
    weights = np.array([3.0, -1.0, 2.0, 1.0, 0.5, 4.0])
    section = params("evolution", steps=40, fitness="bn_indicator")
    with pytest.raises(UserError, match="no score 'bn_indicator'"):
        Evolution(problem(), section)
    known = problem(indicators={"bn_indicator": lambda choices_NG: choices_NG @ weights})
    searched = Evolution(known, section)
    assert searched.evaluation_mode == "no_images"
    for step in range(40):
        proposed = searched.propose(np.random.default_rng(step))
        searched.observe([Result(choices, None, excess(choices)) for choices in proposed])
    # Nine steps to spend: three on the last group, three on the first, three on the third.
    assert searched.answer(1, np.random.default_rng(0)) == [(3, 0, 3, 0, 0, 3)]
