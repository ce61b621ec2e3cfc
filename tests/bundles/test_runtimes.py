"""The runtime modules of `run.py` compute the same outputs as the backends."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from devices.device import DeviceError
from devices.quantize.static import quantize_static
from devices.runtimes import BACKENDS, Backend, backend
from models.nets.onnx_export import to_onnx
from stages.bundle import run_program
from tests.conformance.test_backends import device_for

RUNTIMES = Path(__file__).parents[2] / "devices" / "runtimes"
SHAPE_1CHW = (1, 1, 8, 8)


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE_1CHW).astype(np.float32) for _ in range(count)]


def bundled(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundled", RUNTIMES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(folder: Path, runtime: Backend) -> tuple[Path, str]:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    (folder / "float32.onnx").write_bytes(to_onnx(layers, SHAPE_1CHW[1:]))
    precision = "int8" if "int8" in runtime.native_precisions else "float32"
    if precision == "int8":
        quantize_static(
            folder / "float32.onnx", folder / "int8.onnx", images(8), runtime.activations
        )
    return folder / f"{precision}.onnx", precision


def test_every_backend_except_onnxruntime_has_a_module() -> None:
    found = {path.stem for path in RUNTIMES.glob("*.py")} - {"__init__"}
    assert found == set(BACKENDS) - {"onnxruntime"}
    assert all(hasattr(bundled(name), "Runtime") for name in found)


def test_run_py_has_no_undefined_names(tmp_path: Path) -> None:
    for name in BACKENDS:
        (tmp_path / f"{name}.py").write_text(run_program(name))
    command = ["ruff", "check", "--isolated", "--select", "F821,F822,F823,E9", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    texts = {name: (tmp_path / f"{name}.py").read_text() for name in BACKENDS}
    for name, text in texts.items():
        assert ("class Runtime:" in text) == (name != "onnxruntime")
        assert ("Runtime: Any = OnnxRuntime" in text) == (name == "onnxruntime")
        assert text.rstrip().endswith("sys.exit(main())")


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - {"onnxruntime"}))
def test_the_module_computes_what_the_backend_does(name: str, tmp_path: Path) -> None:
    runtime = backend(name)
    here = runtime.capabilities()
    if not here.can_run:
        pytest.skip(here.reason)
    file, precision = model(tmp_path, runtime)
    built = runtime.build(file, precision, tmp_path, device_for(runtime))
    said = {"details": dict(built.details), "runtime_version": runtime.version()}
    alone = bundled(name).Runtime(tmp_path / built.entry, 1, said)
    with runtime.open(tmp_path / built.entry, 1) as session:
        for image in images(3):
            np.testing.assert_array_equal(alone(image), session(image))
    assert alone.runtime.startswith(runtime.runtime)
    if name == "executorch":
        refuse_two_sizes_of_its_pool(runtime, tmp_path / built.entry)


def refuse_two_sizes_of_its_pool(runtime: Backend, entry: Path) -> None:
    """ExecuTorch has one thread pool per process."""
    with (
        runtime.open(entry, 1),
        runtime.open(entry, 1),
        pytest.raises(DeviceError, match="open sessions use 1 threads, so none can use 2"),
    ):
        runtime.open(entry, 2)
    runtime.open(entry, 2).close()
    runtime.open(entry, 1).close()
