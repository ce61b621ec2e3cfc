"""Metrics against scikit-learn and SciPy, and their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk

from models.quality.metrics import (
    MOST_TEMPERATURE,
    auroc,
    balanced_accuracy,
    confusion_matrix,
    coverage_and_risk,
    fit_temperature,
    precisions,
    probabilities,
    recalls,
    reliability,
)

QUICK = settings(max_examples=60, deadline=None)


def drawn(seed: int, images: int, classes: int, scale: float = 2.0):
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(classes, size=images)
    logits_NK = rng.normal(size=(images, classes))
    logits_NK[np.arange(images), labels_N] += 1
    return (scale * logits_NK).astype(np.float32), labels_N


cases = given(
    seed=st.integers(0, 2**32 - 1), images=st.integers(1, 200), classes=st.integers(2, 12)
)


@QUICK
@cases
def test_counts_and_shares_are_those_of_scikit_learn(seed, images, classes):
    logits_NK, labels_N = drawn(seed, images, classes)
    predicted_N = logits_NK.argmax(1)
    matrix_KK = confusion_matrix(labels_N, predicted_N, classes)
    names = list(range(classes))
    np.testing.assert_array_equal(
        matrix_KK, sk.confusion_matrix(labels_N, predicted_N, labels=names)
    )
    expected = sk.precision_recall_fscore_support(
        labels_N, predicted_N, labels=names, zero_division=np.nan
    )
    np.testing.assert_allclose(precisions(matrix_KK), expected[0])
    np.testing.assert_allclose(recalls(matrix_KK), expected[1])
    present = np.unique(labels_N)
    found = np.mean([(predicted_N[labels_N == k] == k).mean() for k in present])
    assert balanced_accuracy(matrix_KK) == pytest.approx(found)


@QUICK
@cases
def test_a_constant_answer_has_the_balanced_accuracy_of_chance(seed, images, classes):
    _, labels_N = drawn(seed, images, classes)
    largest = np.bincount(labels_N).argmax()
    matrix_KK = confusion_matrix(labels_N, np.full(images, largest), classes)
    assert balanced_accuracy(matrix_KK) == pytest.approx(1 / len(np.unique(labels_N)))


@QUICK
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(2, 300), levels=st.integers(1, 50))
def test_auroc_is_that_of_scikit_learn_with_ties(seed, images, levels):
    rng = np.random.default_rng(seed)
    scores_N = rng.integers(levels, size=images).astype(np.float64)
    positive_N = rng.random(images) < 0.3
    found = auroc(scores_N, positive_N)
    if positive_N.all() or not positive_N.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(sk.roc_auc_score(positive_N, scores_N))
        assert auroc(-scores_N, positive_N) == pytest.approx(1 - found)


@QUICK
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(5, 300),
    classes=st.integers(2, 8),
    scale=st.floats(0.2, 20),
)
def test_the_temperature_minimises_the_smoothed_cross_entropy(seed, images, classes, scale):
    logits_NK, labels_N = drawn(seed, images, classes, scale)
    rest = 1 / (images + 2)
    targets_NK = np.full((images, classes), rest / classes)
    targets_NK[np.arange(images), labels_N] += 1 - rest

    def entropy(log_temperature: float) -> float:
        z_NK = logits_NK.astype(np.float64) / np.exp(log_temperature)
        log_NK = z_NK - np.logaddexp.reduce(z_NK, axis=1, keepdims=True)
        return float(-(targets_NK * log_NK).sum(1).mean())

    found = fit_temperature(logits_NK, labels_N)
    bounds = (-np.log(MOST_TEMPERATURE), np.log(MOST_TEMPERATURE))
    best = minimize_scalar(entropy, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    assert entropy(np.log(found)) <= best.fun + 1e-7


def test_a_network_that_is_too_sure_is_calibrated_on_other_images():
    rng = np.random.default_rng(0)
    logits_NK = rng.normal(scale=1.5, size=(20_000, 5))
    shares_NK = probabilities(logits_NK)
    labels_N = np.array([rng.choice(5, p=row_K) for row_K in shares_NK])
    sure_NK = logits_NK * 3  # the truth has temperature 3
    temperature = fit_temperature(sure_NK[:10_000], labels_N[:10_000])
    assert temperature == pytest.approx(3, rel=0.05)
    before = reliability(probabilities(sure_NK[10_000:]), labels_N[10_000:]).error
    after = reliability(probabilities(sure_NK[10_000:], temperature), labels_N[10_000:]).error
    assert before > 0.2
    assert after < 0.02


def test_without_errors_the_temperature_stays_finite_and_the_probabilities_below_one():
    labels_N = np.arange(100) % 4
    logits_NK = np.eye(4)[labels_N] * 5
    temperature = fit_temperature(logits_NK, labels_N)
    assert 0.3 < temperature < 3
    assert probabilities(logits_NK, temperature).max() < 0.999


def test_a_network_whose_answers_are_wrong_gets_the_highest_temperature():
    labels_N = np.arange(50) % 2
    assert fit_temperature(np.eye(2)[1 - labels_N], labels_N) == pytest.approx(MOST_TEMPERATURE)
    assert fit_temperature(np.zeros((50, 2)), labels_N) == 1


@QUICK
@cases
def test_bins_contain_every_image_once_and_give_the_accuracy_back(seed, images, classes):
    logits_NK, labels_N = drawn(seed, images, classes)
    shares_NK = probabilities(logits_NK)
    np.testing.assert_allclose(shares_NK.sum(1), 1)
    found = reliability(shares_NK, labels_N)
    assert found.images_B.sum() == images
    right = np.nansum(found.accuracy_B * found.images_B)
    assert right == pytest.approx((shares_NK.argmax(1) == labels_N).sum())
    assert 0 <= found.error <= 1
    assert reliability(shares_NK, labels_N, bins=1).error == pytest.approx(
        abs(shares_NK.max(1).mean() - (shares_NK.argmax(1) == labels_N).mean())
    )


@QUICK
@cases
def test_coverage_falls_with_the_threshold(seed, images, classes):
    logits_NK, labels_N = drawn(seed, images, classes)
    shares_NK = probabilities(logits_NK)
    confidence_N, correct_N = shares_NK.max(1), shares_NK.argmax(1) == labels_N
    rows = [coverage_and_risk(confidence_N, correct_N, t) for t in np.linspace(0, 1, 21)]
    coverages = [coverage for coverage, _ in rows]
    assert coverages == sorted(coverages, reverse=True)
    assert rows[0] == (1.0, pytest.approx(1 - correct_N.mean()))
    assert coverage_and_risk(confidence_N, correct_N, 1.1)[0] == 0
    assert np.isnan(coverage_and_risk(confidence_N, correct_N, 1.1)[1])


@pytest.mark.parametrize(
    ("labels", "predicted"), [([], []), ([0, 1], [0]), ([0, 3], [0, 0]), ([0, 0], [-1, 0])]
)
def test_labels_that_do_not_match_are_refused(labels, predicted):
    with pytest.raises(ValueError, match=r"predictions|outside"):
        confusion_matrix(np.array(labels, np.int64), np.array(predicted, np.int64), 3)
