import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from devices.latency.fit import MeasuredNetwork, fit
from devices.latency.table import Correction, HeldOut, LatencyTable

KEYS = [f"block{number}" for number in range(40)]


def table_of(correction: Correction, rng: np.random.Generator) -> LatencyTable:
    block_ms = {key: round(float(rng.uniform(0.005, 0.05)), 6) for key in KEYS}
    block_macs = {key: int(rng.integers(10_000, 2_000_000)) for key in KEYS}
    return LatencyTable("test", "onnxruntime", block_ms, block_macs, {"float32": correction}, {})


def networks(
    truth: LatencyTable, count: int, rng: np.random.Generator, noise: float = 0.0
) -> list[MeasuredNetwork]:
    found = []
    for _ in range(count):
        keys = tuple(rng.choice(KEYS, size=int(rng.integers(5, 13))))
        ms = truth.predict(keys) * float(np.exp(noise * rng.normal()))
        found.append(MeasuredNetwork(keys, {"float32": ms, "int8": ms / 2}, {}))
    return found


corrections = st.builds(
    Correction,
    scale=st.floats(0.6, 1.2),
    per_mega_mac=st.floats(0, 0.005),
    per_block=st.floats(-0.002, 0.002),
    constant=st.floats(0.0, 0.02),
)


@settings(max_examples=30, deadline=None)
@given(corrections, st.integers(0, 1000))
def test_fitting_recovers_what_the_plain_sum_gets_wrong(correction: Correction, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = table_of(correction, rng)
    args = ("test", "onnxruntime", truth.block_ms, truth.block_macs)
    found = fit(*args, networks(truth, 24, rng), networks(truth, 30, rng))
    assert found.error["float32"].mean < 0.02
    assert found.error["int8"].mean < 0.02
    assert found.precisions == ("float32", "int8")


def test_noise_in_the_measurements_is_not_amplified() -> None:
    rng = np.random.default_rng(0)
    truth = table_of(Correction(0.9, 0.001, -0.001, 0.01), rng)
    args = ("test", "onnxruntime", truth.block_ms, truth.block_macs)
    found = fit(*args, networks(truth, 16, rng, noise=0.05), networks(truth, 100, rng))
    assert found.error["float32"].mean < 0.05


@given(corrections, st.lists(st.sampled_from(KEYS), min_size=1, max_size=12))
def test_a_prediction_is_the_sum_of_its_parts(correction: Correction, keys: list[str]) -> None:
    table = table_of(correction, np.random.default_rng(0))
    parts = sum(table.block_cost(key) for key in keys) + correction.constant
    assert table.predict(keys) == pytest.approx(parts, rel=1e-12)


def test_a_table_round_trips_through_json() -> None:
    rng = np.random.default_rng(0)
    truth = table_of(Correction(0.9, 0.001, -0.001, 0.01), rng)
    args = ("test", "onnxruntime", truth.block_ms, truth.block_macs)
    table = fit(*args, networks(truth, 16, rng), networks(truth, 4, rng))
    text = json.dumps(table.to_json() | {"schema": "x", "machine": None})
    assert LatencyTable.from_json(json.loads(text)) == table


def test_a_device_that_was_not_measured_has_null_tables_and_predicts_nothing() -> None:
    table = LatencyTable.unmeasured("far-away", "tensorrt")
    content = json.loads(json.dumps(table.to_json()))
    assert content["measured"] is False
    assert content["block_ms"] is content["corrections"] is content["error"] is None
    assert LatencyTable.from_json(content) == table
    with pytest.raises(UserError, match="'far-away' was not measured"):
        table.predict(["block0"])


def test_an_unmeasured_block_or_precision_is_named() -> None:
    table = table_of(Correction(1, 0, 0, 0), np.random.default_rng(0))
    with pytest.raises(UserError, match="'nowhere' was not measured on 'test'"):
        table.predict(["block0", "nowhere"])
    with pytest.raises(UserError, match="not profiled in float16; only in float32"):
        table.predict(["block0"], "float16")


def test_a_model_past_the_allowed_error_is_refused_with_its_numbers() -> None:
    table = table_of(Correction(1, 0, 0, 0), np.random.default_rng(0))
    table = replace(table, error={"float32": HeldOut(0.3, 0.0, 0.125, ((1.3, 1.0),) * 8)})
    table.check_error(0.3)
    with pytest.raises(UserError, match=r"30\.0% on average on 8 held-out .*max_error.* 25\.0%"):
        table.check_error(0.25)


def test_json_that_is_no_table_is_refused() -> None:
    with pytest.raises(UserError, match="not a latency table"):
        LatencyTable.from_json({"measured": True, "device": "x"})
