"""Probabilistic search: importance weights, sampling within the budgets, and the update."""

import itertools
import math

import numpy as np
import pytest

from models.search.algorithms.base import Result
from models.search.algorithms.fp_nas import FpNas
from models.search.algorithms.gradient import importance_weights
from models.search.problem import Problem
from models.space.distribution import Choices, Distribution, Form
from models.space.file import PRESETS
from models.space.groups import Group
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec
from tests.worlds import each, search_params

IMAGES = 256
SPEC = {
    "name": "small",
    "sizes": (8, 64),
    "stem": {"operator": "conv", "channels": 8, "stride": 2, "settings": {"kernel": 3}},
    "stages": [
        {
            "layers": 2,
            "stride": 2,
            "channels": [8, 12, 16],
            "skip": True,
            "operators": {"mbconv": {"kernel": [3, 5], "expansion": [3, 6]}},
        }
    ],
    "head": {"operator": "classifier", "settings": {"width": 16}},
}
ALL_GROUPS = SearchSpace(SpaceSpec.model_validate(SPEC), (1, 28, 28), 10).groups
GROUPS = (ALL_GROUPS[0], ALL_GROUPS[2])  # channels, and a layer that can be skipped
ALL: list[Choices] = list(itertools.product(*(range(len(g.candidates)) for g in GROUPS)))
forms = pytest.mark.parametrize("form", ["factorised", "joint"])


def excess(choices: Choices) -> float:
    """A budget that a third of the architectures meet, whatever one group has."""
    return max(0.0, (sum(choices) - 2) / 2)


FEASIBLE = [choices for choices in ALL if excess(choices) == 0]


def searched(groups: tuple[Group, ...], form: Form, **changes: object) -> FpNas:
    coarse = 1.0 if form == "factorised" else 0.0
    params = search_params("fp_nas", {"batch": IMAGES, "coarse_fraction": coarse}, **changes)
    return FpNas(Problem(groups, each(excess), IMAGES), params)


def uneven(form: Form) -> tuple[Distribution, dict[Choices, int]]:
    """A distribution of rational probabilities, and how often each occurs in a whole sample."""
    flat, rng = Distribution(GROUPS, form), np.random.default_rng(1)
    weights = rng.integers(1, 4, flat.size)
    found = flat.with_logits(np.log(weights))
    whole = math.prod(int(weights[factor.part].sum()) for factor in found.factors)
    counts = {choices: whole * math.exp(found.log_prob(choices)) for choices in ALL}
    assert all(abs(count - round(count)) < 1e-6 for count in counts.values())
    return found, {choices: round(count) for choices, count in counts.items()}


@pytest.mark.parametrize("beta", [1.0, 0.05, 0.3])
def test_importance_weights_are_the_closed_form(beta: float) -> None:
    nll, images = [0.61, 0.58, 0.70], 16
    terms = [math.exp(-images * loss) ** beta for loss in nll]
    expected = [term / sum(terms) for term in terms]
    np.testing.assert_allclose(importance_weights(nll, images, beta), expected, rtol=1e-12)


def test_importance_weights_survive_likelihoods_that_underflow() -> None:
    found = importance_weights([5.0, 5.1], 100_000, 1.0)
    np.testing.assert_allclose(found, [1.0, 0.0], atol=1e-12)


@forms
def test_the_expected_update_is_the_gradient_of_the_objective_within_the_budgets(
    form: Form,
) -> None:
    """A sample in which every feasible architecture is as frequent as expected."""
    here = searched(GROUPS, form)
    before, counts = uneven(form)
    here.distribution = before
    nll = {choices: 0.5 + 0.01 * number % 0.07 for number, choices in enumerate(ALL)}
    scale = -here.settings.inverse_temperature * IMAGES

    def objective(logits: np.ndarray) -> float:
        """Log of the mean of p(y|A)^beta over the feasible architectures."""
        there = before.with_logits(logits)
        mass = {choices: math.exp(there.log_prob(choices)) for choices in FEASIBLE}
        total = sum(p * math.exp(scale * nll[choices]) for choices, p in mass.items())
        return math.log(total / sum(mass.values()))

    drawn = [choices for choices in FEASIBLE for _ in range(counts[choices])]
    here.observe([Result(choices, nll[choices], 0.0) for choices in drawn])
    moved = (here.distribution.logits - before.logits) / here.settings.learning_rate
    small = 1e-6
    expected = [
        (objective(before.logits + small * e) - objective(before.logits - small * e)) / (2 * small)
        for e in np.eye(before.size)
    ]
    assert max(map(abs, expected)) > 0.05
    np.testing.assert_allclose(moved, expected, atol=1e-6)


@forms
def test_samples_follow_the_distribution_within_the_budgets(form: Form) -> None:
    here = searched(GROUPS, form, min_samples=4000)
    here.distribution, counts = uneven(form)
    drawn = here.propose(np.random.default_rng(0))
    assert set(drawn) <= set(FEASIBLE)
    total = sum(counts[choices] for choices in FEASIBLE)
    for choices in FEASIBLE:
        share = drawn.count(choices) / len(drawn)
        assert share == pytest.approx(counts[choices] / total, abs=0.03)


def test_where_almost_nothing_is_feasible_samples_are_repaired() -> None:
    """The one feasible architecture has a probability of 3e-7."""
    corner = tuple(0 for _ in ALL_GROUPS)
    problem = Problem(ALL_GROUPS, each(lambda c: float(sum(c))), IMAGES)
    here = FpNas(problem, search_params("fp_nas", {"batch": IMAGES}))
    flat = Distribution(ALL_GROUPS, "joint")
    sizes = [len(group.candidates) for group in ALL_GROUPS]
    logits = np.concatenate([np.array([-5.0, *(0.0 for _ in range(s - 1))]) for s in sizes])
    here.distribution = flat.with_logits(logits)
    assert set(here.propose(np.random.default_rng(0))) == {corner}


@forms
def test_equal_samples_give_a_zero_update(form: Form) -> None:
    here = searched(GROUPS, form)
    before = here.distribution
    drawn = here.propose(np.random.default_rng(0))
    here.observe([Result(choices, 0.5, 0.0) for choices in drawn])
    after = here.distribution
    for choices in ALL:
        assert after.log_prob(choices) == pytest.approx(before.log_prob(choices), abs=1e-12)


@forms
def test_the_uniform_start_gives_every_architecture_the_same_probability(form: Form) -> None:
    start = searched(GROUPS, form).distribution
    np.testing.assert_allclose([start.log_prob(c) for c in ALL], -math.log(len(ALL)), rtol=1e-12)


def test_the_number_of_samples_adapts_in_a_large_space() -> None:
    """`fbnet` has 103 nats: lambda 0.25 asks for 26 samples, and for fewer as they vanish."""
    groups = SearchSpace.load(PRESETS / "fbnet.yaml", (3, 224, 224), 10).groups
    here = FpNas(
        Problem(groups, each(lambda c: 0.0), IMAGES), search_params("fp_nas", {"batch": IMAGES})
    )
    flat = here.distribution
    assert here.sample_count() == round(0.25 * flat.entropy()) > 20
    rng = np.random.default_rng(0)
    counts = []
    for scale in (1.0, 2.0, 4.0):
        here.distribution = flat.with_logits(rng.normal(scale=scale, size=flat.size))
        counts.append(here.sample_count())
    assert [26, *counts] == sorted({26, *counts}, reverse=True)
    assert searched(groups, "joint", max_samples=7).sample_count() == 7
