"""One suite over every backend of the table."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from devices.device import OWN_FIELDS, Budget, Device, DeviceError
from devices.quantize.static import calibrate, quantize, quantize_static, to_float16
from devices.runtimes.base import Backend, Built
from devices.runtimes.registry import BACKENDS, backend
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.space.architecture import Architecture, Block

SHAPE_1CHW = (1, 1, 8, 8)
HARDWARE = {"compute_capabilities": ("SM86", "SM120"), "dsp_architectures": ("v73", "v81")}


def device_for(runtime: Backend, **settings: object) -> Device:
    defaults = {"backend": runtime.name, "budget": Budget(flops=10**9), "min_accuracy": 0.5}
    defaults |= {key: made for key, made in HARDWARE.items() if OWN_FIELDS[key] == runtime.name}
    return Device(**(defaults | settings))


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE_1CHW).astype(np.float32) for _ in range(count)]


SLOW = ("coreml", "executorch")
"""Runtimes that take seconds to import and to build."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in BACKENDS
    ],
)
def runtime(request: pytest.FixtureRequest) -> Backend:
    found = backend(request.param)
    if found.version() == "not installed":
        pytest.skip(found.capabilities().reason)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in every precision and family."""
    folder = tmp_path_factory.mktemp("models")
    settings = (("expansion", 3), ("kernel", 3))
    network = Architecture(
        (
            Block("conv", 1, 8, 8, 2, (("kernel", 3),)),
            Block("mbconv", 8, 8, 4, 1, settings),
            Block("mbconv", 8, 16, 4, 2, settings),
            Block("classifier", 16, 5, 2, 1, (("width", 16),)),
        )
    )
    torch.manual_seed(0)
    (folder / "float32.onnx").write_bytes(to_onnx(Subnet(network).eval(), SHAPE_1CHW[1:]))
    to_float16(folder / "float32.onnx", folder / "float16.onnx")
    for family in sorted({runtime.activations for runtime in BACKENDS.values()}):
        quantize_static(folder / "float32.onnx", folder / f"{family}.onnx", images(8), family)
    return folder


def skip_unless_runnable(runtime: Backend) -> None:
    """Skip if the runtime can only build."""
    if not runtime.capabilities().can_run:
        pytest.skip(runtime.capabilities().reason)


def model_for(models: Path, runtime: Backend, precision: str) -> Path:
    return models / f"{runtime.activations if precision == 'int8' else precision}.onnx"


def test_capabilities_say_why_whenever_something_is_missing(runtime: Backend) -> None:
    here, device = runtime.capabilities(), device_for(runtime)
    assert (here.reason == "") == (here.can_build and here.can_run and here.can_measure)
    assert "float32" not in runtime.native_precisions[1:]
    assert not runtime.why_not_run(device) or runtime.why_not_measured(device)
    assert here.can_run or runtime.why_not_run(device) == here.reason


def test_measurable_runtimes_also_run_and_emulators_are_not_measured(
    runtime: Backend,
) -> None:
    here, device = runtime.capabilities(), device_for(runtime)
    assert here.can_run or not here.can_measure
    if here.can_run and not here.can_measure:
        assert runtime.why_not_run(device) == ""
        assert "emulated" in runtime.why_not_measured(device)


@pytest.fixture(scope="module")
def built(
    runtime: Backend, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Built]]:
    """The network built in every native precision: folder and description."""
    found = {}
    for precision in runtime.native_precisions:
        folder = tmp_path_factory.mktemp(f"{runtime.name}-{precision}")
        model = model_for(models, runtime, precision)
        found[precision] = folder, runtime.build(model, precision, folder, device_for(runtime))
    return found


@pytest.mark.slow
def test_every_offered_precision_builds_files_that_open(
    runtime: Backend, built: dict[str, tuple[Path, Built]]
) -> None:
    for folder, made in built.values():
        assert sorted(path.name for path in folder.iterdir()) == sorted(made.files)
        assert made.entry in made.files
        assert made.details["inputs"][0]["shape"] == list(SHAPE_1CHW)
        assert made.details["outputs"][0]["shape"] == [1, 5]
        assert made.details["runtime_version"] == runtime.version()
        assert made.details["rebuild"]
        if runtime.capabilities().can_run:
            with runtime.open(folder / made.entry, threads=1) as session:
                assert session.input_shape == SHAPE_1CHW
                assert session(images(1)[0]).shape == (1, 5)
        else:
            with pytest.raises(DeviceError, match="cannot be run here"):
                runtime.open(folder / made.entry, threads=1)


TOLERANCES = {"float32": 1e-4, "float16": 2e-3, "int8": 0.1}


def test_outputs_are_those_of_onnx_runtime(
    runtime: Backend, models: Path, built: dict[str, tuple[Path, Built]]
) -> None:
    skip_unless_runnable(runtime)
    for precision, (folder, made) in built.items():
        model = model_for(models, runtime, precision)
        with (
            backend("onnxruntime").open(model, 1) as expected,
            runtime.open(folder / made.entry, 1) as delivered,
            runtime.open(model, 1) as plain,
        ):
            for image in images(4):
                wanted = expected(image)
                allowed = TOLERANCES[precision] * np.abs(wanted).max()
                np.testing.assert_allclose(delivered(image), wanted, rtol=0, atol=allowed)
                np.testing.assert_allclose(plain(image), wanted, rtol=0, atol=allowed)


def test_an_int8_file_with_float_layers_is_computed_exactly_or_refused_with_a_reason(
    runtime: Backend, models: Path, tmp_path: Path
) -> None:
    device = device_for(runtime)
    if "int8" not in runtime.native_precisions or runtime.why_not_mixed(device):
        pytest.skip(runtime.why_not_mixed(device) or f"{runtime.runtime} does not support int8")
    ready = calibrate(models / "float32.onnx", images(8), runtime.activations, ["minmax"])
    first, *_, before, last = ready.layers
    (method,) = ready.ranges
    model = tmp_path / "mixed.onnx"
    model.write_bytes(quantize(ready, method, [first, before, last]))
    built = runtime.build(model, "int8", tmp_path, device)
    if not runtime.capabilities().can_run:
        return
    with (
        backend("onnxruntime").open(model, 1) as expected,
        runtime.open(tmp_path / built.entry, 1) as delivered,
    ):
        for image in images(4):
            allowed = 0.1 * np.abs(expected(image)).max()
            np.testing.assert_allclose(delivered(image), expected(image), rtol=0, atol=allowed)


def test_a_dsp_without_float_arithmetic_gets_no_layers_in_float() -> None:
    qnn = backend("qnn")
    assert "float16" in qnn.why_not_mixed(device_for(qnn, dsp_architectures=("v68", "v73")))
    assert qnn.why_not_mixed(device_for(qnn, dsp_architectures=("v73",))) == ""


def test_a_later_call_does_not_change_an_earlier_result(runtime: Backend, models: Path) -> None:
    skip_unless_runnable(runtime)
    first, second = images(2)
    with runtime.open(model_for(models, runtime, runtime.native_precisions[0]), 1) as session:
        kept = session(first)
        before = kept.copy()
        session(second)
        np.testing.assert_array_equal(kept, before)
        np.testing.assert_array_equal(session(first), before)


@pytest.mark.slow
def test_builds_are_deterministic_unless_declared_otherwise(
    runtime: Backend, models: Path, built: dict[str, tuple[Path, Built]], tmp_path: Path
) -> None:
    for precision, (first, made) in built.items():
        second = tmp_path / precision
        second.mkdir()
        model = model_for(models, runtime, precision)
        again = runtime.build(model, precision, second, device_for(runtime))
        assert again.files == made.files
        stable = set(made.files) - set(made.details.get("not_reproducible", []))
        assert stable
        for name in stable:
            assert (second / name).read_bytes() == (first / name).read_bytes(), name


def test_a_file_of_another_precision_is_refused(
    runtime: Backend, models: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"is a float32 model, not int8|does not support"):
        runtime.build(models / "float32.onnx", "int8", tmp_path, device_for(runtime))
    with pytest.raises(DeviceError, match="does not support precision 'int4'"):
        runtime.build(models / "float32.onnx", "int4", tmp_path, device_for(runtime))


def test_a_broken_or_missing_file_is_refused_by_name(runtime: Backend, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    for file in (broken, tmp_path / "missing.onnx"):
        with pytest.raises(DeviceError, match=file.name):
            runtime.build(file, runtime.native_precisions[0], tmp_path, device_for(runtime))
        with pytest.raises(DeviceError, match=file.name):
            runtime.open(file, threads=1)


def test_a_precision_that_is_not_offered_is_refused(runtime: Backend) -> None:
    missing = {"float32", "float16", "int8"} - set(runtime.native_precisions)
    for precision in missing:
        with pytest.raises(DeviceError, match=f"does not support '{precision}'"):
            runtime.check(device_for(runtime, precision=precision))
    for precision in runtime.native_precisions:
        runtime.check(device_for(runtime, precision=precision))


@pytest.mark.parametrize("key", list(HARDWARE))
def test_hardware_generations_are_only_valid_for_their_backend(runtime: Backend, key: str) -> None:
    if OWN_FIELDS[key] == runtime.name:
        with pytest.raises(DeviceError, match=f"{key}: backend '{runtime.name}' needs the .* gen"):
            runtime.check(device_for(runtime, **{key: ()}))
    else:
        words = f"{key}: only for backend '{OWN_FIELDS[key]}'; remove it for '{runtime.name}'"
        with pytest.raises(DeviceError, match=words):
            runtime.check(device_for(runtime, **{key: HARDWARE[key]}))


def test_only_a_latency_budget_needs_a_measurable_device(runtime: Backend) -> None:
    device = device_for(runtime, budget=Budget(latency_ms=1.0))
    if runtime.why_not_measured(device):
        with pytest.raises(DeviceError, match="Add a budget of flops"):
            runtime.check(device)
        runtime.check(device_for(runtime, budget=Budget(latency_ms=1.0, flops=10)))
    else:
        runtime.check(device)


def test_a_missing_runtime_is_named_with_the_command_that_installs_it(
    runtime: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, runtime.package, None)
    here = runtime.capabilities()
    assert not here.can_build
    assert not here.can_run
    assert not here.can_measure
    with pytest.raises(DeviceError, match=r"not installed\. Install it: pip install"):
        runtime.check(device_for(runtime))


def test_the_nearest_backend_is_suggested() -> None:
    with pytest.raises(DeviceError, match="Did you mean 'openvino'"):
        backend("openvin")


def test_listing_backends_imports_no_runtime() -> None:
    packages = [runtime.package for runtime in BACKENDS.values()] + ["torch", "onnx"]
    code = (
        f"import sys, devices.runtimes.registry; print([p for p in {packages} if p in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
