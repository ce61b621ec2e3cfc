import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from models.predict.ranking import BASELINES, Tau, certify, resamples, tau_b, weighted_tau_b

values = st.lists(st.integers(0, 5).map(float), min_size=2, max_size=12)


def brute_force(first: list[float], second: list[float]) -> float:
    """tau-b from its definition, pair by pair."""
    pairs = list(itertools.combinations(range(len(first)), 2))
    signs = [(np.sign(first[i] - first[j]), np.sign(second[i] - second[j])) for i, j in pairs]
    agree = sum(a * b for a, b in signs)
    untied = [sum(1 for pair in signs if pair[side]) for side in (0, 1)]
    return float(agree / math.sqrt(untied[0] * untied[1]))


@given(values, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_tau_b_is_its_definition(first: list[float], random: object) -> None:
    second = [float(random.randint(0, 5)) for _ in first]  # type: ignore[attr-defined]
    found = tau_b(first, second)
    if len(set(first)) < 2 or len(set(second)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(brute_force(first, second), abs=1e-12)
        assert found == pytest.approx(kendalltau(first, second, variant="b").statistic)


@given(values.filter(lambda v: len(set(v)) > 1))
@settings(deadline=None)
def test_tau_b_of_an_order_with_itself_is_one_and_reversed_minus_one(row: list[float]) -> None:
    assert tau_b(row, row) == pytest.approx(1)
    assert tau_b(row, [-value for value in row]) == pytest.approx(-1)


def test_a_resample_by_counts_is_the_resample_written_out() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, (2, 9)).astype(float)
    counts = resamples(9, 20, rng)
    assert (counts.sum(1) == 9).all()
    for row, value in zip(counts, weighted_tau_b(first, second, counts), strict=True):
        written_out = np.repeat(np.arange(9), row)
        expected = tau_b(first[written_out].tolist(), second[written_out].tolist())
        assert expected is not None
        assert value == pytest.approx(expected)


def certificate_of(truth: list[float], **scores: list[float]):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    baselines = {name: rng.random(len(truth)).tolist() for name in BASELINES}
    return certify(truth, baselines | scores, 400, np.random.default_rng(1))


def test_an_indicator_that_knows_the_truth_beats_baselines_that_guess() -> None:
    truth = np.linspace(0.8, 0.9, 30).tolist()
    certificate = certificate_of(truth, oracle=truth)
    assert certificate.tau["oracle"].value == pytest.approx(1)
    assert certificate.beats_best_baseline == {"oracle": True}
    assert "oracle has tau 1.00" in certificate.describe("oracle")
    statement = certificate.describe("oracle")
    assert "on this evidence its ranking beats depth (tau " in statement
    assert "FLOPs (tau " in statement
    assert "the best baseline, " in statement
    assert "not shown" not in statement


def test_the_statement_names_baselines_that_are_not_beaten() -> None:
    truth = np.linspace(0.8, 0.9, 12).tolist()
    certificate = certificate_of(truth, echo=truth, depth=truth)
    assert certificate.best_baseline == "depth"
    assert certificate.beats_best_baseline == {"echo": False}
    statement = certificate.describe("echo")
    assert "beats FLOPs (tau" in statement
    assert "and is not shown to beat the best baseline, depth (tau 1.00)." in statement
    margin = certificate.tau_above["echo"]
    assert (margin["depth"].value, margin["depth"].low) == (0, 0)
    flops = certificate.tau["flops"].value
    assert flops is not None
    assert margin["flops"].value == pytest.approx(1 - flops)


def test_the_statement_names_constant_baselines() -> None:
    truth = np.linspace(0.8, 0.9, 12).tolist()
    certificate = certificate_of(truth, echo=truth, depth=[21.0] * 12)
    assert "depth" not in certificate.tau_above["echo"]
    statement = certificate.describe("echo")
    assert statement.endswith("; depth is equal for all of them.")
    assert "its ranking beats the best baseline, FLOPs (tau" in statement


def test_the_interval_holds_the_value_and_narrows_with_more_architectures() -> None:
    rng = np.random.default_rng(3)
    widths = []
    for count in (8, 80):
        truth = rng.normal(size=count)
        noisy = (truth + rng.normal(size=count)).tolist()
        tau = certificate_of(truth.tolist(), noisy=noisy).tau["noisy"]
        assert tau.low is not None
        assert tau.value is not None
        assert tau.high is not None
        assert tau.low <= tau.value <= tau.high
        widths.append(tau.high - tau.low)
    assert widths[1] < 0.6 * widths[0]


@pytest.mark.parametrize("count", [0, 1])
def test_without_ground_truth_every_number_is_null(count: int) -> None:
    content = certificate_of([0.5] * count, blind=[0.1] * count).to_json()
    assert content["num_architectures"] == count
    assert content["best_baseline"] is None
    assert set(content["tau"]["blind"].values()) == {None}
    assert content["beats_best_baseline"] == {"blind": False}
    assert "no evidence" in certificate_of([0.5] * count, blind=[0.1] * count).describe("blind")


def test_a_certificate_repeats() -> None:
    truth = [0.1, 0.4, 0.2, 0.9, 0.5]
    assert certificate_of(truth, one=truth).to_json() == certificate_of(truth, one=truth).to_json()


def test_undefined_resamples_are_left_out() -> None:
    nothing, one = Tau.of(0.5, np.array([np.nan, np.nan])), Tau.of(0.5, np.array([np.nan, 0.4]))
    assert (nothing.low, nothing.high) == (None, None)
    assert (one.low, one.high) == (0.4, 0.4)
