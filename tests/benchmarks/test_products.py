"""Products of features, log targets and relative errors of the predictors' benchmark."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from benchmarks.predictors.products import (
    Form,
    forms,
    pairs,
    part_of,
    problem,
    selection,
    with_penalty,
)
from core.errors import UserError
from models.predict.cross_validation import Error, cross_validate, folds, judge, selecting_learner
from models.predict.fit import Examples

NAMES = ("stage1.depth", "stage1.kernel", "stage2.depth", "stage2.kernel")


def networks(count: int, noise: float = 0.01) -> Examples:
    """A latency with products within stages only."""
    rng = np.random.default_rng(0)
    options = ([2, 3, 4], [3, 5, 7], [2, 3, 4], [3, 5, 7])
    values = np.column_stack([rng.choice(some, count) for some in options]).astype(float)
    depth1, kernel1, depth2, kernel2 = values.T
    ms = 1 + 0.3 * depth1 * kernel1 + 0.1 * depth2 * kernel2 + rng.normal(0, noise, count)
    return Examples(NAMES, values, "latency", ms)


def error(examples: Examples, products: str, relative: bool = False) -> Error:
    parts = folds(examples, 5, np.random.default_rng(0))
    learn = selecting_learner(selection(products, relative))
    return judge(examples.target_N, cross_validate(examples, parts, learn))


def test_products_are_selected_where_they_help_and_only_there() -> None:
    examples = networks(60)
    assert selection("auto")(examples).form.products == "same"
    found, plain = error(examples, "auto"), error(examples, "none")
    assert (found.r2 or 0) > max(0.999, plain.r2 or 0)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 4))
    linear = values @ [1.0, -2.0, 0.5, 0.0] + rng.normal(0, 0.3, 60)
    assert selection("auto")(Examples(NAMES, values, "t", linear)).form == Form()


@pytest.mark.parametrize("form", [Form(), Form("all", 0.3), Form(log=True), Form(relative=True)])
def test_the_selecting_error_is_that_of_fits_without_each_example(form: Form) -> None:
    examples = networks(12, noise=0.3)
    model = with_penalty(examples, form)
    _, _, (columns, values, weights) = problem(examples, form)
    off = []
    for row, truth in enumerate(examples.target_N):
        kept = np.arange(12) != row
        ridge = Ridge(model.penalty * 12, solver="svd")
        ridge.fit(columns[kept], values[kept], sample_weight=weights[kept])
        found = float(ridge.predict(columns[row : row + 1])[0])
        one = (math.exp(found) if form.log else found) - truth
        off.append(one / truth if form.relative else one)
    assert model.loo_error == pytest.approx(float(np.mean(np.square(off))), rel=1e-4)


@pytest.mark.parametrize("form", [Form("same"), Form("all", 0.1, log=True), Form(relative=True)])
def test_the_written_formula_predicts_what_the_fast_function_does(form: Form) -> None:
    examples = networks(40)
    model = with_penalty(examples, form)
    predictor = model.fit(examples)
    columns = dict(zip(NAMES, examples.values_NF.T, strict=True))
    fast = model.solve(examples)(examples.values_NF)
    assert predictor.predict_many(columns) == pytest.approx(fast, rel=1e-6)


def test_parts_are_given_by_the_first_number_of_a_name() -> None:
    names = ("stage2.depth", "k12", "s1_layer2_e", "size")
    assert [part_of(n) for n in names] == ["2", "12", "1", None]
    assert pairs(NAMES, "same") == [(0, 0), (0, 1), (1, 1), (2, 2), (2, 3), (3, 3)]
    assert len(pairs(NAMES, "all")) == 10
    with pytest.raises(UserError, match="at most 4000 terms"):
        pairs([f"f{i}" for i in range(200)], "all")


def test_logarithms_and_relative_errors_are_for_positive_targets() -> None:
    examples = networks(20)
    assert any(form.log for form in forms(examples, "auto"))
    shifted = replace(examples, target_N=examples.target_N - 5)
    assert not any(form.log for form in forms(shifted, "auto"))
    with pytest.raises(UserError, match="need targets above 0"):
        selection("auto", relative=True)(shifted)
