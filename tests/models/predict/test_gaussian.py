import numpy as np
import pytest

from core.errors import UserError
from models.predict.gaussian import Entries, GaussianProcess, Values, similarities_of
from models.space.groups import Group, Variable, single

GROUPS = tuple(single(f"g{i}", "v", ("a", "b", "c")) for i in range(6))
ALIKE = similarities_of(GROUPS)
WORTH = np.random.default_rng(7).normal(size=(6, 3))


def entries(count: int, seed: int = 0, halvings: float = 0.0, recipe: int = 0) -> Entries:
    rng = np.random.default_rng(seed)
    choices_NG = rng.integers(3, size=(count, 6))
    numbers_NF = (choices_NG == 0).sum(1, keepdims=True) - 2.0
    return Entries(
        choices_NG, numbers_NF, np.full(count, halvings), np.full(count, recipe, dtype=np.int64)
    )


def truth(of: Entries) -> Values:
    """Main effects, a trend, and a loss of 0.5 per halving."""
    effects_N: Values = WORTH[np.arange(6), of.choices_NG].sum(1)
    return 3.0 + 0.3 * effects_N + 0.2 * of.numbers_NF[:, 0] + 0.5 * of.halvings_N


def error(process: GaussianProcess, of: Entries) -> float:
    return float(np.abs(process.predict(of)[0] - truth(of)).mean())


def test_without_noise_the_mean_meets_every_value() -> None:
    seen = entries(20)
    process = GaussianProcess.fit(seen, truth(seen), ALIKE, noise=0.0)
    mean_N, spread_N = process.predict(seen)
    np.testing.assert_allclose(mean_N, truth(seen), atol=1e-3)
    assert spread_N.max() < 1e-2


def test_the_variance_shrinks_with_every_training() -> None:
    new, seen = entries(50, seed=1), entries(10)
    process = GaussianProcess.fit(seen, truth(seen), ALIKE)
    before_M = process.predict(new)[1]
    after_M = process.believe(entries(10, seed=2)).predict(new)[1]
    assert (after_M <= before_M + 1e-9).all()
    assert after_M.mean() < 0.9 * before_M.mean()


def test_predictions_improve_with_data_and_generalise() -> None:
    new, errors = entries(200, seed=1), []
    for count in (4, 12, 40):
        seen = entries(count)
        errors.append(error(GaussianProcess.fit(seen, truth(seen), ALIKE), new))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.2 * truth(new).std()


def test_the_noise_is_found_from_the_data() -> None:
    seen, rng = entries(100), np.random.default_rng(0)
    clean = GaussianProcess.fit(seen, truth(seen), ALIKE)
    noisy = GaussianProcess.fit(seen, truth(seen) + rng.normal(scale=0.5, size=100), ALIKE)
    assert clean.variances["noise"] < 0.05
    assert noisy.variances["noise"] * noisy.scale**2 == pytest.approx(0.25, rel=0.5)


def test_the_intervals_hold_what_they_promise() -> None:
    seen, new = entries(30), entries(300, seed=1)
    values_N = truth(seen) + np.random.default_rng(0).normal(scale=0.1, size=30)
    mean_M, spread_M = GaussianProcess.fit(seen, values_N, ALIKE).predict(new)
    inside = np.abs(mean_M - truth(new)) < 1.96 * spread_M
    assert inside.mean() > 0.85


def test_no_prediction_depends_on_the_unit_of_the_values() -> None:
    seen, new = entries(20), entries(50, seed=1)
    mean_M, spread_M = GaussianProcess.fit(seen, truth(seen), ALIKE).predict(new)
    other = GaussianProcess.fit(seen, 100 * truth(seen) - 7, ALIKE)
    np.testing.assert_allclose(other.predict(new)[0], 100 * mean_M - 7, rtol=1e-3)
    np.testing.assert_allclose(other.predict(new)[1], 100 * spread_M, rtol=1e-2)


def test_the_same_entries_give_the_same_bytes() -> None:
    seen, new = entries(20), entries(50, seed=1)
    once, again = (GaussianProcess.fit(seen, truth(seen), ALIKE).predict(new) for _ in range(2))
    assert once[0].tobytes() == again[0].tobytes()
    assert once[1].tobytes() == again[1].tobytes()


def test_short_trainings_inform_long_ones() -> None:
    short, long, new = entries(40, halvings=2.0), entries(4, seed=3), entries(100, seed=1)
    seen = short.join(long)
    both = GaussianProcess.fit(seen, truth(seen), ALIKE)
    few = GaussianProcess.fit(long, truth(long), ALIKE)
    assert error(both, new) < 0.5 * error(few, new)


def test_another_recipe_informs_the_order_and_not_the_level() -> None:
    other, own, new = entries(40, recipe=1), entries(4, seed=3), entries(100, seed=1)
    values_N = np.append(truth(other) + 50.0, truth(own))
    both = GaussianProcess.fit(other.join(own), values_N, ALIKE)
    few = GaussianProcess.fit(own, truth(own), ALIKE)
    assert error(both, new) < 0.5 * error(few, new)


def test_one_training_is_enough_for_a_prior() -> None:
    one = entries(1)
    mean_M, spread_M = GaussianProcess.fit(one, truth(one), ALIKE).predict(entries(5, seed=1))
    assert np.isfinite(mean_M).all()
    assert (spread_M > 0).all()


@pytest.mark.parametrize(
    ("count", "values", "message"),
    [
        (0, [], "at least one training"),
        (3, [1.0], "3 trainings with 1 values"),
        (2, [1.0, np.nan], "not finite"),
    ],
)
def test_unusable_values_are_refused(count: int, values: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GaussianProcess.fit(entries(count), np.array(values), ALIKE)


def test_near_widths_are_similar_and_operators_are_equal_or_not() -> None:
    widths, operators = single("w", "channels", (16, 24, 64)), single("o", "operator", ("a", "b"))
    near, equal = similarities_of((widths, operators))
    assert near[0, 1] == pytest.approx(16 / 24)
    assert near[0, 2] < near[1, 2] < near[0, 1] < near[0, 0] == 1
    np.testing.assert_array_equal(equal, np.eye(2))


def test_a_skipped_layer_is_unlike_all_others_and_settings_count_in_shares() -> None:
    variables = (
        Variable("operator", ("mbconv", "skip")),
        Variable("mbconv.kernel", (3, 5)),
        Variable("mbconv.act", ("relu", "silu")),
    )
    candidates = ((0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, -1, -1))
    (found,) = similarities_of((Group("stage1.layer2", variables, candidates),))
    assert found[0, 1] == pytest.approx((1 + 3 / 5 + 1) / 3)
    assert found[0, 2] == pytest.approx(2 / 3)
    assert found[0, 4] == 0
    assert np.linalg.eigvalsh(found).min() >= -1e-12
