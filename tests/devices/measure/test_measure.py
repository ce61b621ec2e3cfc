"""Real measurements, with tolerances for a busy machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from devices.device import Budget, Device
from devices.measure.fingerprint import machine_state
from devices.measure.interleaved import (
    PROCESSES,
    ROUNDS,
    Measurement,
    MeasurementError,
    Protocol,
    measure_on_fast_cores,
    pool,
    replicate,
)
from devices.measure.target import LocalTarget

QUICK = Protocol(blocks=7, calls=10, time_limit_s=0.5)
HERE = LocalTarget(
    "here", Device(backend="onnxruntime", budget=Budget(latency_ms=1.0), min_accuracy=0.0)
)


@pytest.mark.slow
def test_a_larger_network_is_slower_and_a_network_is_about_as_fast_as_itself(
    small: Path, large: Path
) -> None:
    done: list[str] = []
    models = {"itself": small, "larger": large}
    found = HERE.measure(models, small, QUICK, done.append)
    assert done == ["itself", "larger"]
    assert 0.5 < found["itself"].ratio < 2
    assert found["larger"].ratio > 1.5 * found["itself"].ratio
    for row in found.values():
        assert row.ms > 0
        assert row.spread >= 0
        assert row.interval[0] <= row.ms <= row.interval[1]
        assert row.blocks >= 7
        assert 0 <= row.undisturbed <= 1
    assert found["larger"].ms / found["itself"].ms == pytest.approx(
        found["larger"].ratio / found["itself"].ratio
    )


def test_past_its_time_limit_a_measurement_returns_with_the_interval_it_has(small: Path) -> None:
    impossible = Protocol(blocks=3, calls=3, max_interval=1e-9, time_limit_s=0.2)
    found = HERE.measure({"noisy": small}, small, impossible)
    assert found["noisy"].half_width > impossible.max_interval
    assert found["noisy"].blocks >= 6


def test_a_model_that_cannot_be_opened_is_named(small: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(MeasurementError, match=r"broken\.onnx"):
        HERE.measure({"x": broken}, small, QUICK)


def test_the_machine_describes_itself() -> None:
    state = machine_state("onnxruntime", 3)
    assert state["processor"]
    assert state["cores"] >= 1
    assert state["session_threads"] == 3
    assert state["clock_mhz"] is None or state["clock_mhz"] > 0
    assert state["runtime_version"]


class Core:
    """Measures models with the given latencies of the reference, in order."""

    def __init__(self, *reference_ms: float) -> None:
        self._reference_ms = list(reference_ms)
        self.measured: list[str] = []

    def measure_once(self, names: Sequence[str]) -> Iterator[tuple[str, Measurement]]:
        for name in names:
            took, count = self._reference_ms.pop(0), len(self.measured)
            self.measured.append(name)
            yield name, Measurement(2.0 + count, 1.5 + count, 2.5 + count, 0.1, took, 9, 1.0)


def test_what_ran_on_a_slow_core_is_measured_again_after_the_others() -> None:
    core, done = Core(1.5, 1.0, 1.1, 1.05), list[str]()
    found = measure_on_fast_cores(["a", "b", "c"], core.measure_once, done.append)
    assert core.measured == ["a", "b", "c", "a"]
    assert done == ["a", "b", "c"]
    assert [found[name].ratio for name in "abc"] == [5.0, 3.0, 4.0]
    assert [found[name].undisturbed for name in "abc"] == [1.0, 1.0, 1.0]


def test_a_core_that_stays_slow_ends_it_and_the_interval_holds_all_that_was_measured() -> None:
    core, done = Core(1.0, *[1.6] * ROUNDS), list[str]()
    found = measure_on_fast_cores(["a", "b"], core.measure_once, done.append)
    assert core.measured == ["a", "b"] + ["b"] * (ROUNDS - 1)
    assert done == ["a", "b"]
    assert (found["b"].low, found["b"].high) == (2.5, 2.5 + ROUNDS)
    assert found["b"].undisturbed == 0.0
    assert found["a"].undisturbed == 1.0


def test_what_the_reference_is_known_to_take_tells_a_slow_core_from_the_first_model_on() -> None:
    assert measure_on_fast_cores(["a"], Core(1.5).measure_once)["a"].undisturbed == 1.0
    core = Core(1.5, 1.0)
    assert measure_on_fast_cores(["a"], core.measure_once, expected_ms=1.0)["a"].ratio == 3.0
    assert core.measured == ["a", "a"]


@pytest.mark.slow
def test_what_is_reported_holds_what_each_process_measured(small: Path) -> None:
    models = replicate(small)
    assert len(models) == PROCESSES
    found = HERE.measure(models, small, QUICK)
    one = pool(found)
    low, high = one.interval
    assert all(low <= row.ms <= high for row in found.values())
    assert low <= one.ms <= high
    assert one.blocks == sum(row.blocks for row in found.values())


def test_an_interval_over_processes_holds_their_median_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(0.0, 0.1, (4000, PROCESSES))  # its median is 1
    held = 0
    for row in drawn:
        rows = {
            str(k): Measurement(ms, ms, ms, 0.0, 1.0, 9, 1.0) for k, ms in enumerate(row.tolist())
        }
        low, high = pool(rows).interval
        held += low <= 1.0 <= high
    assert 0.95 < held / len(drawn) < 0.985
