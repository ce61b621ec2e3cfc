"""OpenVINO on GPU and NPU, with a mocked driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from devices.device import Budget, Device, DeviceError
from devices.measure.fingerprint import differences, machine_state
from devices.measure.target import LocalTarget, open_target
from devices.runtimes.openvino.session import config_of, why_absent
from devices.runtimes.registry import BACKENDS, backend
from models.nets.onnx_export import to_onnx
from pipelines.show.doctor_table import offline_notes
from tests.bundles.build.test_run_program import bundled

UNITS = ("GPU", "NPU")


class Compiled:
    """A compiled model that reports another device and precision."""

    def __init__(self, real: Any, where: list[str], precision: str) -> None:
        self._real, self._where, self._precision = real, where, precision

    def get_property(self, name: str) -> Any:
        import openvino

        if name == "EXECUTION_DEVICES":
            return self._where
        assert name == "INFERENCE_PRECISION_HINT"
        return getattr(openvino.Type, self._precision)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Core:
    """A mocked core with two GPUs that computes on the CPU and records its configuration."""

    available_devices = ("CPU", "GPU.0", "GPU.1", "NPU")

    def __init__(self, where: str | None = None, precision: str = "f32") -> None:
        import openvino

        self._core, self._where, self._precision = openvino.Core(), where, precision
        self.compiled: list[tuple[str, dict[str, Any]]] = []

    def get_property(self, unit: str, name: str) -> list[str]:
        assert name == "AVAILABLE_DEVICES"
        return [found for found in self.available_devices if found.startswith(unit)]

    def read_model(self, file: Path) -> Any:
        return self._core.read_model(file)

    def compile_model(self, model: Any, unit: str, config: dict[str, Any]) -> Compiled:
        self.compiled.append((unit, config))
        real = self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return Compiled(real, [self._where or f"{unit}.0"], self._precision)


def device(unit: str, **changes: Any) -> Device:
    given = {
        "backend": "openvino", "openvino_device": unit, "budget": Budget(flops=10**9),
        "min_accuracy": 0.0, "precision": "int8" if unit == "NPU" else "auto",
    }  # fmt: skip
    return Device(**given | changes)


def absent(unit: str) -> str:
    said = why_absent(unit)
    if not said:
        pytest.skip(f"this machine has a {unit} that OpenVINO uses")
    return said


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    (tmp_path / "float32.onnx").write_bytes(to_onnx(layers, (1, 8, 8)))
    return tmp_path / "float32.onnx"


def with_core(monkeypatch: pytest.MonkeyPatch, core: Core) -> Core:
    monkeypatch.setattr("devices.runtimes.openvino.session.core", lambda: core)
    return core


@pytest.mark.parametrize("unit", UNITS)
def test_a_missing_unit_is_reported_and_never_replaced(unit: str, model: Path) -> None:
    said, runtime = absent(unit), backend("openvino")
    assert f"OpenVINO finds no {unit} on this machine; it finds CPU" in said
    away = device(unit)
    assert runtime.why_not_run(away) == runtime.why_not_measured(away) == said
    assert runtime.why_not_run(device("CPU")) == ""
    bench = open_target("x", away)
    assert isinstance(bench, LocalTarget)
    assert bench.why_not_run == bench.why_not_measured == said
    with pytest.raises(DeviceError, match=f"cannot be run here. OpenVINO finds no {unit}"):
        bench.outputs(model, [np.zeros((1, 1, 8, 8), np.float32)])
    assert offline_notes({"x": away, "cpu": device("CPU")}) == [f"'x' is not measured: {said}"]
    runtime.check(away)
    with pytest.raises(DeviceError, match=f"(?s)no {unit} on this machine.*Add a budget of flops"):
        runtime.check(device(unit, budget=Budget(latency_ms=1.0)))


def test_a_missing_gpu_is_reported_with_the_plugins_error() -> None:
    said = absent("GPU")
    assert "Its plugin says: " in said or said.endswith("Is its driver installed?")


@pytest.mark.parametrize("unit", UNITS)
def test_a_bundle_for_a_unit_builds_without_it_and_its_run_py_opens_that_unit_alone(
    unit: str, model: Path, tmp_path: Path
) -> None:
    runtime, files = backend("openvino"), {}
    for name in ("CPU", unit):
        folder = tmp_path / name
        folder.mkdir()
        built = (
            runtime.build(model, "float32", folder, device(name, precision="auto"))
            if name == "CPU"
            else runtime.for_unit(name).build(model, "float32", folder, device(name))
        )
        assert built.details["openvino_device"] == name
        files[name] = [(folder / file).read_bytes() for file in built.files]
    assert files["CPU"] == files[unit], "the files are for any unit"
    absent(unit)
    program = bundled(runtime.session, tmp_path)
    message = f"model.xml cannot be run here. OpenVINO finds no {unit} on this machine"
    with pytest.raises(ValueError, match=message):
        program.RUNTIME(tmp_path / unit / built.entry, 1, unit)


@pytest.mark.parametrize(("unit", "name"), [("GPU", "GPU"), ("GPU.1", "GPU.1"), ("NPU", "NPU")])
def test_a_unit_that_is_there_is_compiled_for_by_exactly_its_name(
    unit: str, name: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = with_core(monkeypatch, Core(precision="f16" if unit == "NPU" else "f32"))
    runtime = backend("openvino")
    assert runtime.why_not_measured(device(unit)) == ""
    with runtime.for_unit(unit).open(model, 3) as session:
        assert session(np.zeros((1, 1, 8, 8), np.float32)).shape == (1, 5)
    assert core.compiled == [(name, config_of(unit, 3))]
    hint = core.compiled[0][1].get("INFERENCE_PRECISION_HINT")
    assert hint == (None if unit == "NPU" else "f32")
    assert "INFERENCE_NUM_THREADS" not in core.compiled[0][1]
    assert runtime.why_not_run(device("GPU.7")).endswith("Is its driver installed?")


def test_a_model_compiled_for_another_unit_or_precision_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_core(monkeypatch, Core(where="CPU"))
    with pytest.raises(DeviceError, match="runs on CPU instead of GPU"):
        backend("openvino").for_unit("GPU").open(model, 1)
    with_core(monkeypatch, Core(precision="f16"))
    with pytest.raises(DeviceError, match="computes in f16 instead of f32"):
        backend("openvino").for_unit("GPU").open(model, 1)


def test_an_npu_supports_only_int8() -> None:
    for precision in ("auto", "float32"):
        with pytest.raises(DeviceError, match=r"no float32 arithmetic.*precision: int8"):
            backend("openvino").check(device("NPU", precision=precision))


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - {"openvino"}))
def test_a_unit_is_only_valid_for_openvino(name: str) -> None:
    with pytest.raises(DeviceError, match=r"openvino_device.*only for backend 'openvino'"):
        backend(name).check(device("GPU", backend=name))
    assert backend(name).for_unit("CPU") is backend(name)


@pytest.mark.parametrize("unit", ["gpu", "GPU.x", "AUTO", "HETERO:GPU,CPU", "GPU.0.1.2", ""])
def test_a_name_with_fallback_is_not_a_unit(unit: str) -> None:
    with pytest.raises(ValueError, match="openvino_device"):
        device(unit)


def test_a_table_of_another_unit_is_stale() -> None:
    then, now = machine_state("openvino", 1), machine_state("openvino", 1, "GPU")
    assert differences(then, now) == ["unit was None and is 'GPU'"]
    assert differences(then, machine_state("openvino", 1)) == []
