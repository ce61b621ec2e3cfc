"""Real measurements, with limits wide enough for a busy machine."""

from pathlib import Path

import pytest

from devices.fingerprint import machine_state
from devices.measure import MeasurementError, Protocol, measure, require_narrow

QUICK = Protocol(blocks=7, calls=10, time_limit_s=0.5)


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
        assert row.interval[0] <= row.ms <= row.interval[1]
        assert row.blocks >= 7
        assert 0 <= row.undisturbed <= 1
    assert found["larger"].ms / found["itself"].ms == pytest.approx(
        found["larger"].ratio / found["itself"].ratio
    )


def test_past_its_time_limit_a_measurement_returns_with_the_interval_it_has(small: Path) -> None:
    impossible = Protocol(blocks=3, calls=3, max_interval=1e-9, time_limit_s=0.2)
    found = measure("onnxruntime", {"noisy": small}, small, 1, impossible)
    assert found["noisy"].half_width > impossible.max_interval
    assert found["noisy"].blocks >= 6
    with pytest.raises(MeasurementError, match=r"'noisy' is too noisy: .* max_interval allows"):
        require_narrow(found, impossible)
    require_narrow(found, Protocol(3, 3, max_interval=1e9))


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
