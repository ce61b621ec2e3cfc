"""The regression on features, and the choice between it and the sum of blocks."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from devices.latency.fit import FOLDS, MeasuredNetwork, fit
from devices.latency.regression import fit_regression
from devices.latency.table import LatencyTable

FEATURES = [f"stage{stage}.{name}" for stage in (1, 2) for name in ("depth", "width", "kernel")]
KEYS = [f"block{number}" for number in range(8)]
ARGS = ("test", "onnxruntime", {key: 0.01 * (1 + at) for at, key in enumerate(KEYS)},
        dict.fromkeys(KEYS, 1000))  # fmt: skip


def rows(count: int, rng: np.random.Generator) -> list[dict[str, float]]:
    return [{name: float(rng.integers(1, 6)) for name in FEATURES} for _ in range(count)]


def truth(weights: list[float], row: dict[str, float]) -> float:
    return 0.05 + sum(w * row[name] for w, name in zip(weights, FEATURES, strict=True))


weights = st.lists(st.floats(0.0, 0.1), min_size=len(FEATURES), max_size=len(FEATURES))


@settings(max_examples=30, deadline=None)
@given(weights, st.integers(0, 1000))
def test_what_is_linear_in_the_features_is_found_with_its_coefficients(
    weights: list[float], seed: int
) -> None:
    features = rows(40, np.random.default_rng(seed))
    found = fit_regression(features, [truth(weights, row) for row in features])
    for weight, name in zip(weights, FEATURES, strict=True):
        coefficient = found.coefficients[name]
        assert coefficient.ms == pytest.approx(weight, abs=2e-3)
        assert coefficient.low <= coefficient.ms <= coefficient.high
    for row in rows(20, np.random.default_rng(seed + 1)):
        assert found.predict(row) == pytest.approx(truth(weights, row), rel=0.02)


def test_more_features_than_networks_and_noise_do_not_run_away() -> None:
    rng = np.random.default_rng(0)
    weights = [0.01, 0.002, 0.0, 0.03, 0.0, 0.001]

    def noisy(count: int) -> tuple[list[dict[str, float]], list[float]]:
        features = rows(count, rng)
        ms = [truth(weights, row) * float(np.exp(0.03 * rng.normal())) for row in features]
        junk = [row | {f"junk{n}": float(rng.normal()) for n in range(30)} for row in features]
        return junk, ms

    features, ms = noisy(24)
    found = fit_regression(features, ms)
    others, measured = noisy(100)
    off = [abs(found.predict(row) / m - 1) for row, m in zip(others, measured, strict=True)]
    constant = [abs(np.mean(ms) / m - 1) for m in measured]
    assert np.mean(off) < 0.8 * np.mean(constant)


def test_intervals_cover_the_true_coefficient_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    weights = [0.02, 0.01, 0.005, 0.03, 0.02, 0.01]
    inside = []
    for _ in range(60):
        features = rows(60, rng)
        ms = [truth(weights, row) * float(np.exp(0.02 * rng.normal())) for row in features]
        found = fit_regression(features, ms)
        inside += [
            found.coefficients[name].low <= weight <= found.coefficients[name].high
            for weight, name in zip(weights, FEATURES, strict=True)
        ]
    assert 0.85 < np.mean(inside) < 0.995


def test_a_feature_that_never_varies_has_no_coefficient_and_a_missing_one_is_named() -> None:
    features = [row | {"size": 28.0} for row in rows(10, np.random.default_rng(0))]
    found = fit_regression(features, [1.0 + row["stage1.depth"] for row in features])
    assert "size" not in found.coefficients
    with pytest.raises(UserError, match=r"stage1\.depth"):
        found.predict({})


def networks(count: int, rng: np.random.Generator, together: float) -> list[MeasuredNetwork]:
    """Additive blocks, plus a cost `together` per pair of equal blocks."""
    found = []
    for _ in range(count):
        keys = tuple(str(key) for key in rng.choice(KEYS, size=int(rng.integers(3, 9))))
        pairs = float(len(keys) - len(set(keys)))
        alone = sum(ARGS[2][key] for key in keys)
        features = {"stage1.pairs": pairs, "stage1.sum": float(sum(KEYS.index(k) for k in keys)),
                    "stage1.depth": float(len(keys))}  # fmt: skip
        found.append(MeasuredNetwork(keys, {"float32": alone + together * pairs}, features))
    return found


def table_for(together: float) -> LatencyTable:
    rng = np.random.default_rng(0)
    return fit(*ARGS, networks(30, rng, together), networks(20, rng, together), (8,))


def test_the_model_that_predicts_left_out_networks_better_is_used() -> None:
    additive, entangled = table_for(0.0), table_for(0.05)
    assert additive.additive("float32")
    assert not entangled.additive("float32")
    for table in (additive, entangled):
        choice = table.choices["float32"]
        assert choice.cross_validated[choice.model] == min(choice.cross_validated.values())
        # The reported error is that of the selected model on held-out networks.
        assert table.error["float32"].mean == choice.held_out[choice.model]
        assert table.error["float32"].mean < 0.02


def test_the_regression_is_what_predicts_where_it_is_used() -> None:
    table = table_for(0.05)
    network = networks(1, np.random.default_rng(5), 0.05)[0]
    found = table.predict(network.block_keys, "float32", network.features)
    assert found == table.regressions["float32"].predict(network.features)
    assert found != pytest.approx(sum(table.block_cost(key) for key in network.block_keys))
    with pytest.raises(UserError, match="needs the feature 'stage1"):
        table.predict(network.block_keys)
    assert LatencyTable.from_json(json.loads(json.dumps(table.to_json()))) == table


def test_the_choice_does_not_see_the_held_out_networks() -> None:
    rng = np.random.default_rng(0)
    fitted, held_out = networks(30, rng, 0.0), networks(20, rng, 0.5)
    table = fit(*ARGS, fitted, held_out, (8,))
    other = fit(*ARGS, fitted, networks(20, np.random.default_rng(9), 0.0), (8,))
    assert table.choices["float32"].model == other.choices["float32"].model == "blocks"
    assert table.corrections == other.corrections
    assert table.error["float32"].mean > 0.2  # reported unchanged


def test_fewer_networks_than_folds_are_enough() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 4, FOLDS - 1):
        table = fit(*ARGS, networks(count, rng, 0.0), networks(2, rng, 0.0), (8,))
        assert set(table.choices) == {"float32"}
