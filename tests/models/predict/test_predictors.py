"""Predictors: fit, model selection, intervals, cross-validation and files."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge as ScikitRidge

from core.errors import UserError
from models.predict.cross_validation import (
    contributions,
    cross_validate,
    folds,
    judge,
    selecting_learner,
)
from models.predict.fit import PENALTIES, Examples, Ridge
from models.predict.predictor import FORMULA, Values
from tests import formula

NAMES = ("stage1.depth", "stage1.kernel", "stage2.depth", "stage2.kernel")


def networks(count: int, seed: int = 0, noise: float = 0.01) -> Examples:
    """A latency with products within stages only."""
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.choice([2, 3, 4] if i % 2 == 0 else [3, 5, 7], count)
                              for i in range(4)]).astype(float)  # fmt: skip
    depth1, kernel1, depth2, kernel2 = values.T
    ms = 1 + 0.3 * depth1 * kernel1 + 0.1 * depth2 * kernel2 + rng.normal(0, noise, count)
    return Examples(NAMES, values, "latency", ms, {"latency": "ms", "stage1.depth": "layers"})


def errors(examples: Examples, seed: int = 0) -> Any:
    parts = folds(examples, 5, np.random.default_rng(seed))
    return judge(
        examples.target_N, cross_validate(examples, parts, selecting_learner(Ridge.select))
    )


def test_a_fit_is_scikit_learns_ridge_on_standardised_features() -> None:
    examples = networks(50)
    values = (examples.values_NF - examples.values_NF.mean(0)) / examples.values_NF.std(0)
    ridge = ScikitRidge(0.1 * 50).fit(values, examples.target_N)
    found = Ridge(0.1).fit(examples)
    columns = dict(zip(NAMES, examples.values_NF.T, strict=True))
    assert found.predict_many(columns) == pytest.approx(ridge.predict(values), rel=1e-9)


def test_intervals_hold_the_true_coefficient_as_often_as_they_say() -> None:
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(40, 4))
        values[:, 1] = 0.9 * values[:, 0] + 0.4 * values[:, 1]  # two correlated features
        truth = np.array([1.0, 0.5, 0.0, -0.3])
        examples = Examples(NAMES, values, "t", 5 + values @ truth + rng.normal(0, 0.5, 40))
        found = Ridge.select(examples).fit(examples)
        held += [t.low <= x <= t.high for t, x in zip(found.terms, truth, strict=True)]
    assert 0.90 <= np.mean(held) <= 0.99


def test_more_features_than_examples_are_fitted_and_the_intervals_admit_it() -> None:
    held, better = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        values, truth = rng.normal(size=(30, 60)), rng.normal(size=60)
        target = values @ truth + rng.normal(0, 0.5, 30)
        examples = Examples(tuple(f"f{at}" for at in range(60)), values, "t", target)
        found = Ridge.select(examples).fit(examples)
        held += [t.low <= x <= t.high for t, x in zip(found.terms, truth, strict=True)]
        better.append((errors(examples).r2 or 0) > 0)
    assert np.mean(held) >= 0.85
    assert np.mean(better) > 0.5


def test_a_file_can_be_evaluated_by_its_formula() -> None:
    examples = networks(60)
    found = Ridge.select(examples).fit(examples)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["features"]["stage1.depth"]["unit"] == "layers"
    assert content["unit"] == "ms"
    assert content["formula"] == FORMULA
    row = dict(zip(NAMES, examples.values_NF[0].tolist(), strict=True))
    assert found.predict(row) == pytest.approx(formula.predict(content, row), rel=1e-12)


def test_predicting_needs_no_scikit_learn() -> None:
    code = (
        "import sys, models.predict.predictor as p\n"
        "f = {'a': p.Feature(0.0, 0.0, 1.0)}\n"
        "x = p.Predictor('t', '', False, 1.0, f, (p.Term(('a',), 0.0, 2.0, 1.0, 3.0),), 3)\n"
        "assert x.predict({'a': 2.0}) == 5.0\n"
        "assert not any(m.startswith(('sklearn', 'scipy', 'torch')) for m in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_features_are_named() -> None:
    found = Ridge(0.01).fit(networks(30))
    with pytest.raises(UserError, match=r"missing: stage2\.kernel"):
        found.predict(dict.fromkeys(NAMES[:3], 1.0))


def test_contributions_are_differences_of_r2() -> None:
    examples = networks(80)
    parts = folds(examples, 5, np.random.default_rng(0))
    learn = Ridge.select(examples).solve
    worth = contributions(examples, learn, parts)
    assert [*worth] == [*NAMES]
    assert worth["stage1.depth"].lost > worth["stage2.depth"].lost > 0
    one = examples.columns([1])
    alone = judge(one.target_N, cross_validate(one, parts, learn)).r2
    assert worth["stage1.kernel"].alone == pytest.approx(alone)


def test_rows_of_one_network_share_a_fold_and_folds_repeat() -> None:
    examples = networks(20)
    twice = examples.rows([*range(20), *range(20)])
    parts = folds(twice, 4, np.random.default_rng(3))
    again = folds(twice, 4, np.random.default_rng(3))
    assert sorted(at for _, unseen in parts for at in unseen) == [*range(40)]
    for (seen, unseen), (_, same) in zip(parts, again, strict=True):
        assert (unseen == same).all()
        known = {tuple(row) for row in twice.values_NF[seen]}
        assert not any(tuple(row) in known for row in twice.values_NF[unseen])


def test_validation_targets_do_not_affect_predictions() -> None:
    examples = networks(40)
    parts = folds(examples, 4, np.random.default_rng(0))
    before = cross_validate(examples, parts, selecting_learner(Ridge.select))
    spoilt = examples.target_N.copy()
    spoilt[parts[0][1]] *= 7
    after = cross_validate(
        replace(examples, target_N=spoilt), parts, selecting_learner(Ridge.select)
    )
    assert (before[parts[0][1]] == after[parts[0][1]]).all()


def test_measures_are_their_definitions() -> None:
    true: Values = np.array([1.0, 2.0, 4.0, 0.0])
    found = judge(true, np.array([1.04, 2.18, 4.0, 0.5]))
    assert found.relative == pytest.approx((0.04 + 0.09 + 0) / 3)
    assert (found.within_5, found.within_10) == (pytest.approx(2 / 3), 1.0)
    assert found.tau == 1
    assert found.r2 == pytest.approx(1 - (0.04**2 + 0.18**2 + 0.25) / 8.75)
    nothing = judge(np.zeros(3), np.ones(3))
    assert (nothing.r2, nothing.relative, nothing.tau) == (None, None, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ridge.select(networks(2)), "at least 3 examples"),
        (lambda: replace(networks(3), target_N=np.array([1.0, np.nan, 2.0])), "missing"),
        (lambda: replace(networks(3), target_N=np.ones(4)), r"shape \(4, 4\)"),
        (lambda: folds(networks(4), 5, np.random.default_rng(0)), "cannot be split into 5"),
    ],
)
def test_what_cannot_be_fitted_is_named(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_penalties_cover_all_that_a_standardised_feature_can_need() -> None:
    assert PENALTIES[0] == pytest.approx(1e-6)
    assert PENALTIES[-1] >= 1e3
