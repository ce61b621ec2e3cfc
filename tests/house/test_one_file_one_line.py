"""A new runtime, search algorithm or operator is one file or folder and its line in a table."""

import re
from pathlib import Path

import pytest

from tests.support import Repository, copy_repository

SESSION = '''
"""Models in the reference implementation of ONNX."""

from pathlib import Path
from typing import Any

from devices.runtimes.session import Session, SessionError


class ToySession(Session):
    runtime, package = "Toy", "onnx"

    def __init__(self, file: Path, threads: int, unit: str = "CPU") -> None:
        from onnx.reference import ReferenceEvaluator

        try:
            self._evaluator = ReferenceEvaluator(str(file))
        except Exception as error:
            raise SessionError(f"Toy cannot load {file.name}: {error}") from error
        images = self._evaluator.proto_.graph.input[0].type.tensor_type
        self.input_shape = tuple(axis.dim_value for axis in images.shape.dim)

    def __call__(self, images_1CHW: Any) -> Any:
        return self._evaluator.run(None, {self._evaluator.input_names[0]: images_1CHW})[0]
'''
BACKEND = '''
"""The reference implementation of ONNX as a runtime."""

import shutil
from pathlib import Path

from devices.device import Device
from devices.runtimes.base import MODEL, Backend, Built
from devices.runtimes.toy.session import ToySession


class Toy(Backend):
    name = "toy"
    session = ToySession
    install_hint = "pip install onnx"
    activations = "uint8"
    native_precisions = ("float32",)

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        details = self.start_build(onnx_model, precision, device)
        entry = f"{MODEL}{self.suffix}"
        shutil.copyfile(onnx_model, folder / entry)
        return Built((entry,), entry, {**details, "rebuild": "portable"})
'''
USE = """
import sys
from pathlib import Path

import torch

from devices.device import Budget, Device
from devices.measure.interleaved import Protocol
from devices.measure.target import LocalTarget, RemoteTarget
from models.nets.onnx_export import to_onnx
from models.space.architecture import Architecture, Block
from models.space.costs import flops
from tests.agents import Agent

folder = Path(sys.argv[1])
layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
file = folder / "model.onnx"
file.write_bytes(to_onnx(layers, (1, 8, 8)))
device = Device(backend="toy", budget=Budget(latency_ms=1.0), min_accuracy=0)
agent = Agent(folder)
try:
    for target in (LocalTarget("toy", device), RemoteTarget(agent.client(), device)):
        measured = target.measure({"model": file}, file, Protocol(3, 5, 1.0, 0.1))
        print(target.machine()["runtime"], measured["model"].ms > 0)
finally:
    agent.kill()
print(flops(Architecture((Block("toy", 3, 4, 8, 2, (("kernel", 5),)),))))
"""
ALGORITHM = '''
"""Local search: parts of the best architecture, the rest at random."""

from typing import Literal

from models.search.algorithms.base import Algorithm, SampledSettings


class ToySettings(SampledSettings):
    name: Literal["toy"] = "toy"


class Toy(Algorithm):
    settings_type = ToySettings
    evaluation_mode = "held_out"

    def propose(self, rng):
        return [self.near_best(rng) for _ in range(self.settings.fixed_samples)]

    def near_best(self, rng):
        other = self.random_feasible(rng)
        best = (self.seen.best() or [other])[0]
        mixed = tuple(b if rng.random() < 0.7 else o for b, o in zip(best, other, strict=True))
        return mixed if self.problem.excess(mixed) <= 0 else other

    def learn(self, results):
        return [1.0 / len(results)] * len(results)

    def answer(self, count, rng):
        return self.fill_up(self.seen.best(), count, rng)
'''
OPERATOR = '''
"""A convolution with ReLU."""

from models.space.operators.base import Conv, Operator


class Toy(Operator):
    name = "toy"
    settings = {"kernel": (3, 5)}

    def cells(self, block):
        kernel = self.number(block, "kernel")
        return {
            "main": Conv(block.in_channels, block.out_channels, block.size, kernel, block.stride)
        }

    def forward(self, block, x_NCHW, run):
        return run("main", x_NCHW).relu()
'''


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the repository with one new component of each kind."""
    copy = copy_repository(tmp_path_factory.mktemp("toy") / "repository")
    package = copy.root / "devices/runtimes/toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "session.py").write_text(SESSION)
    (package / "backend.py").write_text(BACKEND)
    add_line(copy.root / "devices/runtimes/registry.py", "devices.runtimes.toy.backend", "Toy()")
    for folder, text, entry in (
        ("models/search/algorithms", ALGORITHM, "Toy"),
        ("models/space/operators", OPERATOR, "Toy()"),
    ):
        (copy.root / folder / "toy.py").write_text(text)
        add_line(copy.root / folder / "__init__.py", f"{folder.replace('/', '.')}.toy", entry)
    return copy


def add_line(table: Path, module: str, entry: str) -> None:
    """Add `Toy` of a module to the table that a file holds."""
    text = table.read_text()
    imports, values = text.index("\nfrom __future__"), text.index("in (\n") + len("in (\n")
    after = text.index("\n", imports + 1) + 1
    table.write_text(
        f"{text[:after]}from {module} import Toy\n"
        f"{text[after:values]}        {entry},\n{text[values:]}"
    )


SUITES = {
    "tests/conformance/test_backends.py": "runtime",
    "tests/bundles/build/test_run_program.py": "runtime",
    "tests/devices/measure/test_agent.py": "runtime",
    "tests/conformance/test_algorithms.py": "search algorithm",
    "tests/conformance/test_operators.py": "operator",
}


@pytest.mark.slow
def test_each_passes_its_conformance_suites(repository: Repository) -> None:
    # Operators in one runtime: the others do not depend on which operators there are.
    chosen = "toy and (not test_operators or onnxruntime or alone) or hold_every_value"
    code, output = repository.python(
        "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "-k", chosen, *SUITES
    )
    assert code == 0, output
    for file, kind in SUITES.items():
        assert re.search(rf"PASSED {file}::\S*toy", output), f"{file} tests no new {kind}"


@pytest.mark.slow
def test_the_runtime_measures_here_and_behind_an_agent_and_the_operator_has_a_cost(
    repository: Repository, tmp_path: Path
) -> None:
    code, output = repository.python("-c", USE, str(tmp_path))
    macs = 4 * 4 * 4 * (5 * 5 * 3)
    assert (code, output.splitlines()[-3:]) == (0, ["Toy True", "Toy True", str(macs)]), output
