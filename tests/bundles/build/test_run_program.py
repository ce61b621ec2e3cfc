"""A bundle's `run.py` computes the same outputs as the backends."""

import ast
import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from bundles.build.run_program import run_program
from devices.device import DeviceError
from devices.quantize.static import quantize_static
from devices.runtimes.base import Backend
from devices.runtimes.registry import BACKENDS, backend
from devices.runtimes.session import Session
from models.nets.onnx_export import to_onnx
from tests.conformance.test_backends import device_for

SHAPE_1CHW = (1, 1, 8, 8)


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE_1CHW).astype(np.float32) for _ in range(count)]


def bundled(session: type[Session], folder: Path) -> ModuleType:
    """A bundle's `run.py` as a module."""
    file = folder / "run.py"
    file.write_text(run_program(session))
    spec = importlib.util.spec_from_file_location("bundled", file)
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


def test_run_py_has_neither_undefined_names_nor_two_of_one_name(tmp_path: Path) -> None:
    for name, runtime in BACKENDS.items():
        text = run_program(runtime.session)
        (tmp_path / f"{name}.py").write_text(text)
        assert f"RUNTIME: type[Session] = {runtime.session.__name__}\n" in text
        assert text.rstrip().endswith("sys.exit(main())")
        names = Counter(defined_names(ast.parse(text)))
        assert [name for name, count in names.items() if count > 1] == []
    command = ["ruff", "check", "--isolated", "--select", "F,E9", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def defined_names(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@pytest.mark.parametrize("name", BACKENDS)
def test_run_py_computes_what_the_backend_does(name: str, tmp_path: Path) -> None:
    runtime = backend(name)
    here = runtime.capabilities()
    if not here.can_run:
        pytest.skip(here.reason)
    file, precision = model(tmp_path, runtime)
    built = runtime.build(file, precision, tmp_path, device_for(runtime))
    alone = bundled(runtime.session, tmp_path).RUNTIME(tmp_path / built.entry, 1)
    with alone, runtime.open(tmp_path / built.entry, 1) as session:
        assert alone.description.startswith(f"{runtime.runtime} {runtime.version()}")
        for image in images(3):
            np.testing.assert_array_equal(alone(image), session(image))
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
