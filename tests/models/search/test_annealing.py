import csv
import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.search.algorithms.annealing import Annealer, Annealing, AnnealingSettings
from models.search.algorithms.base import Result
from models.search.algorithms.predictor import fit, fit_seen
from models.search.problem import Problem, as_choices, candidate_features
from models.search.settings import SearchParams
from models.space.distribution import Choices
from models.space.groups import single, single_steps
from tests import formula
from tests.worlds import each

GROUPS = tuple(single(f"g{i}", "v", tuple(range(2 + i % 4))) for i in range(7))
STEPS = tuple(single_steps(group) for group in GROUPS)
LEAST = (0,) * 7


def limited(budget: float) -> Problem:
    return Problem(GROUPS, each(lambda choices: max(0.0, sum(choices) / budget - 1)), 64)


@given(
    budget=st.floats(0.5, 15), changes=st.integers(1, 7), seed=st.integers(0, 1000),
    hottest=st.floats(0.01, 100),
)  # fmt: skip
def test_no_chain_ever_is_beyond_a_budget(
    budget: float, changes: int, seed: int, hottest: float
) -> None:
    problem = limited(budget)
    settings = AnnealingSettings(moves=30, changes=changes, hottest=hottest, coldest=0.01)
    annealer = Annealer(problem, settings, STEPS)
    chains = annealer.run_chains(
        [LEAST] * 3,
        lambda choices_NG: -choices_NG.sum(1).astype(float),  # all that is good is dear
        1.0,
        np.random.default_rng(seed),
    )
    assert all(problem.excess(choices) == 0 for chain in chains for choices in chain)
    assert all(LEAST in chain for chain in chains)
    sums = [[sum(choices) for choices in chain] for chain in chains]
    assert all(chain == sorted(chain, reverse=True) for chain in sums)  # the best comes first


@given(start=st.tuples(*(st.integers(0, 1 + i % 4) for i in range(7))), seed=st.integers(0, 1000))
def test_a_neighbour_differs_in_a_few_groups_by_one_step(start: Choices, seed: int) -> None:
    settings = AnnealingSettings(changes=3)
    annealer = Annealer(limited(9), settings, STEPS)
    there = annealer.neighbour(start, np.random.default_rng(seed))
    changed = [abs(a - b) for a, b in zip(start, there, strict=True) if a != b]
    assert 1 <= len(changed) <= 3
    assert set(changed) == {1}


def test_cold_chains_only_descend_and_hot_ones_wander() -> None:
    target = np.array([1, 2, 0, 3, 0, 1, 2])

    def energy(choices_NG: np.ndarray) -> np.ndarray:
        distance: np.ndarray = np.abs(choices_NG.astype(float) - target).sum(1)
        return distance

    cold = AnnealingSettings(moves=200, changes=1, hottest=1e-6, coldest=1e-6)
    chain = Annealer(limited(99), cold, STEPS).run_chains(
        [LEAST], energy, 1.0, np.random.default_rng(0)
    )[0]
    assert chain[0] == tuple(target.tolist())
    assert len(chain) == len({float(e) for e in energy(as_choices(chain))})  # each step is a gain
    hot = AnnealingSettings(moves=200, changes=1, hottest=1e6, coldest=1e6)
    wandered = Annealer(limited(99), hot, STEPS).run_chains(
        [LEAST], energy, 1.0, np.random.default_rng(0)
    )[0]
    assert len(wandered) > 100


@pytest.fixture
def trained(params: Callable[..., SearchParams]) -> Annealing:
    slopes = np.array([0.5, -0.2, 0.1, -0.4, 0.0, 0.3, -0.1])
    section = params("annealing", steps=20, fixed_samples=3, informative_fraction=0.5)
    searched = Annealing(limited(6), section)
    for step in range(20):
        proposed = searched.propose(np.random.default_rng(step))
        assert len(set(proposed)) == len(proposed)
        assert not set(proposed) & searched.seen.sums.keys()
        searched.observe([Result(c, float(slopes @ np.array(c)), 0.0) for c in proposed])
    return searched


def test_it_finds_the_optimum_of_what_its_predictor_can_express(trained: Annealing) -> None:
    # Six steps to spend: three on g3 (-0.4 each), one on g1... by slope, as far as options go.
    best = trained.answer(1, np.random.default_rng(0))[0]
    assert best == (0, 2, 0, 4, 0, 0, 0)


@pytest.mark.slow
def test_it_writes_what_every_feature_adds(trained: Annealing) -> None:
    written = trained.artifacts()
    text = written["predictor.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["feature"] for row in rows} == set(candidate_features(GROUPS).names)
    told = [abs(float(row["nats_per_deviation"])) for row in rows]
    assert told == sorted(told, reverse=True)
    assert all(
        float(row["low"]) <= float(row["nats_per_unit"]) <= float(row["high"]) for row in rows
    )
    assert trained.artifacts() == written  # the picture too
    with Image.open(io.BytesIO(written["predictor.png"])) as picture:
        assert picture.width == 1300
    saved, names = json.loads(written["predictor.json"]), candidate_features(GROUPS).names
    known = list(trained.seen.sums)
    rows_NF = candidate_features(GROUPS).of(as_choices(known))
    predicted = [formula.predict(saved, dict(zip(names, row, strict=True))) for row in rows_NF]
    fitted = fit_seen(trained.problem, trained.seen)
    np.testing.assert_allclose(fitted.values(as_choices(known)), predicted, atol=1e-9)
    slope = {row["feature"]: float(row["nats_per_unit"]) for row in rows}
    assert slope["g0: v=1"] - slope["g0: v=0"] == pytest.approx(0.5, abs=0.1)


def test_informative_architectures_teach_more_than_random_ones(
    params: Callable[..., SearchParams],
) -> None:
    """Judged by D-optimality: the information that evaluated features hold about a regression."""

    def information(rows: list[Choices]) -> float:
        features_NF = candidate_features(GROUPS).of(as_choices(rows))
        features_NF -= np.repeat([1 / (2 + i % 4) for i in range(7)], [2 + i % 4 for i in range(7)])
        return float(np.linalg.slogdet(features_NF.T @ features_NF + 0.1 * np.eye(23))[1])

    section = params("annealing", steps=6, fixed_samples=4)
    searched = Annealing(limited(99), section.model_copy(update={"steps": 100}))
    chosen: list[Choices] = []
    for step in range(6):
        proposed = searched.propose(np.random.default_rng(step))
        searched.observe([Result(c, 0.5, 0.0) for c in proposed])
        chosen += proposed
    random = [
        information([searched.random_feasible(np.random.default_rng([s, i])) for i in range(24)])
        for s in range(50)
    ]
    assert information(chosen) > max(random)


def test_the_regression_is_exact_on_what_is_linear_and_a_mean_without_evidence() -> None:
    rng, features = np.random.default_rng(0), candidate_features(GROUPS)
    rows = as_choices([tuple(int(rng.integers(2 + i % 4)) for i in range(7)) for _ in range(80)])
    values_N = rows @ np.array([0.5, -0.2, 0.1, -0.4, 0.0, 0.3, -0.1]) + 3
    model = fit(features, features.of(rows), values_N)
    np.testing.assert_allclose(model.values(rows), values_N, atol=0.01)
    few = fit(features, features.of(rows[:2]), values_N[:2])
    np.testing.assert_allclose(few.values(rows), values_N[:2].mean())
    same = fit(features, features.of(rows), np.full(80, 2.0))
    np.testing.assert_allclose(same.values(rows), 2.0)
