"""Real measurements, with limits wide enough for a busy machine."""

from pathlib import Path

import pytest

from devices.fingerprint import machine_state
from devices.measure import MeasurementError, Protocol, measure

QUICK = Protocol(blocks=7, calls=10, max_spread=5.0)


def test_a_larger_network_is_slower_and_a_network_is_about_as_fast_as_itself(
    small: Path, large: Path
) -> None:
    done: list[str] = []
    models = {"itself": small, "larger": large}
    found = measure("onnxruntime", models, small, 1, QUICK, done.append)
    assert done == ["itself", "larger"]
    assert 0.5 < found["itself"].ratio < 2
    assert found["larger"].ratio > 1.5 * found["itself"].ratio
    for row in found.values():
        assert row.ms > 0
        assert row.spread >= 0
    assert found["larger"].ms / found["itself"].ms == pytest.approx(
        found["larger"].ratio / found["itself"].ratio
    )


def test_a_measurement_past_the_allowed_spread_is_refused_by_name(small: Path) -> None:
    impossible = Protocol(blocks=5, calls=3, max_spread=0.0)
    with pytest.raises(MeasurementError, match=r"'noisy' is too noisy: 20 blocks .* max_spread"):
        measure("onnxruntime", {"noisy": small}, small, 1, impossible)


def test_a_model_that_cannot_be_opened_is_named(small: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(MeasurementError, match=r"broken\.onnx"):
        measure("onnxruntime", {"x": broken}, small, 1, QUICK)


def test_a_device_that_is_elsewhere_is_refused(small: Path) -> None:
    with pytest.raises(MeasurementError, match="no backend 'abacus'"):
        measure("abacus", {"x": small}, small, 1, QUICK)


def test_the_machine_describes_itself() -> None:
    state = machine_state("onnxruntime", 3)
    assert state["processor"]
    assert state["cores"] >= 1
    assert state["session_threads"] == 3
    assert state["clock_mhz"] is None or state["clock_mhz"] > 0
    assert state["runtime_version"]
