"""FP-NAS with `learn_from: all`: regression, log-odds, and stopping."""

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from models.search.algorithms.base import Result
from models.search.algorithms.evidence import Evidence
from models.search.algorithms.fp_nas import FpNas
from models.search.algorithms.parsec import Parsec
from models.search.problem import Problem
from models.search.settings import SearchParams
from models.space.distribution import Choices, Distribution, Form
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec

STAGE = {
    "layers": 3,
    "stride": 2,
    "channels": [8, 12],
    "skip": True,
    "operators": {"mbconv": {"kernel": [3, 5], "expansion": [3, 6]}},
}
SPEC = {
    "name": "small",
    "sizes": (8, 64),
    "stem": {"operator": "conv", "channels": 8, "stride": 2, "settings": {"kernel": 3}},
    "stages": [STAGE],
    "head": {"operator": "classifier", "settings": {"width": 16}},
}
GROUPS = SearchSpace(SpaceSpec.model_validate(SPEC), (1, 28, 28), 10).groups
EVERY: list[Choices] = list(itertools.product(*(range(len(g.candidates)) for g in GROUPS)))
OFFSETS = [np.linspace(0.0, 0.1, len(group.candidates)) for group in GROUPS]
PARAMS = SearchParams(
    algorithm="fp_nas", steps=60, batch=64, learn_from="all", learning_rate=1.0,
    inverse_temperature=0.3, cost_weight=10.0, samples_per_nat=1.0, min_samples=2, max_samples=16,
    fixed_samples=4, coarse_fraction=0.5, stop_when_sharp=True, candidates=5, checkpoint_every=5,

)  # fmt: skip


def nll(choices: Choices) -> float:
    """The first candidate of every group is the best."""
    return 0.5 + sum(float(o[c]) for o, c in zip(OFFSETS, choices, strict=True))


def learn(searched: FpNas, noise: float = 0.0, stop: int = 1000) -> None:
    while not searched.finished and searched.step < stop:
        rng = np.random.default_rng(searched.step)
        drawn = searched.propose(rng)
        hard = rng.normal(scale=0.1)  # a batch that is hard for all
        losses = [nll(choices) + hard + noise * rng.normal() for choices in drawn]
        excess = searched.problem.excess
        searched.observe([Result(c, x, excess(c)) for c, x in zip(drawn, losses, strict=True)])


def made(kind: type[FpNas] = FpNas, excess: Callable[[Choices], float] = lambda c: 0.0) -> FpNas:
    return kind(Problem(GROUPS, excess, 64), PARAMS)


def evidence(count: int, noise: float) -> Evidence:
    rng = np.random.default_rng(0)
    found = Evidence(GROUPS)
    for step in range(count // 4):
        drawn = [EVERY[int(rng.integers(len(EVERY)))] for _ in range(4)]
        found.add(step, drawn, [nll(choices) + noise * rng.normal() for choices in drawn])
    return found


@pytest.mark.parametrize("form", ["factorised", "joint"])
def test_odds_favour_what_is_better_and_grow_with_evidence(form: Form) -> None:
    flat = Distribution(GROUPS, form)
    entropies = [flat.entropy()]
    for count in (24, 96, 384):
        here = flat.with_logits(evidence(count, noise=0.05).log_odds(flat))
        entropies.append(here.entropy())
    assert entropies == sorted(entropies, reverse=True)
    assert next(here.by_probability()) == min(EVERY, key=nll)


def test_equal_losses_are_evidence_of_nothing() -> None:
    found = Evidence(GROUPS)
    found.add(0, EVERY[:40], [0.7] * 40)
    np.testing.assert_allclose(found.log_odds(Distribution(GROUPS, "factorised")), 0.0, atol=1e-3)


def test_units_and_a_constant_do_not_matter() -> None:
    plain, scaled = evidence(96, noise=0.05), evidence(96, noise=0.05)
    scaled.nll = [3.0 + 10.0 * value for value in scaled.nll]
    forms: tuple[Form, ...] = ("factorised", "joint")
    for flat in (Distribution(GROUPS, form) for form in forms):
        np.testing.assert_allclose(scaled.log_odds(flat), plain.log_odds(flat), rtol=1e-6)


def test_the_noise_is_told_from_the_effects() -> None:
    flat = Distribution(GROUPS, "factorised")
    largest = [
        float(np.abs(evidence(96, noise).log_odds(flat)).max()) for noise in (0.001, 0.05, 10.0)
    ]
    assert largest[0] > 2 * largest[1] > 4 * largest[2]
    assert largest[2] < 2.0


def test_options_are_judged_beside_the_likely_ones() -> None:
    found = Evidence(GROUPS)
    # The first group's candidate 0 is good beside the second's, and bad beside all others.
    losses = [0.5 + (c[0] == 0) * (0.02 - 0.06 * (c[1] == 0)) for c in EVERY]
    found.add(0, EVERY, losses)
    flat = Distribution(GROUPS, "joint")
    second = flat.factors[1].part.start
    sure = flat.with_logits(np.where(np.arange(flat.size) == second, 9.0, 0.0))
    assert np.argmax(found.log_odds(flat)[flat.factors[0].part]) != 0
    assert np.argmax(found.log_odds(sure)[flat.factors[0].part]) == 0


def test_few_evaluations_find_the_best_and_end_the_search() -> None:
    searched = made()
    learn(searched, noise=0.01)
    assert searched.answer(1, np.random.default_rng(0)) == [min(EVERY, key=nll)]
    assert searched.step < PARAMS.steps
    assert searched.distribution.entropy() <= math.log(PARAMS.candidates)


def test_noise_alone_ends_no_search() -> None:
    searched = made()
    searched.problem.excess((0,) * len(GROUPS))
    while not searched.finished:
        rng = np.random.default_rng([7, searched.step])
        drawn = searched.propose(rng)
        searched.observe([Result(choices, float(rng.normal()), 0.0) for choices in drawn])
    assert searched.step == PARAMS.steps


def test_parsec_takes_all_its_steps_and_forgets() -> None:
    searched = made(Parsec)
    learn(searched)
    assert searched.step == PARAMS.steps
    assert searched.state()["evidence"] == []


def test_what_costs_too_much_is_not_evaluated() -> None:
    def excess(choices: Choices) -> float:
        return max(0.0, 1.0 - sum(choices) / 8)  # the best are beyond the budget

    searched = made(excess=excess)
    rng = np.random.default_rng(0)
    assert all(excess(choices) == 0 for _ in range(20) for choices in searched.propose(rng))
    learn(searched)
    found = searched.answer(1, rng)[0]
    assert nll(found) == pytest.approx(min(nll(c) for c in EVERY if excess(c) == 0), abs=0.03)


@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_search_has_the_same_evidence(stop: int) -> None:
    whole, begun, resumed = made(), made(), made()
    learn(whole, noise=0.05)
    learn(begun, noise=0.05, stop=stop)
    resumed.restore(json.loads(json.dumps(begun.state())))
    learn(resumed, noise=0.05)
    assert resumed.state() == whole.state()
