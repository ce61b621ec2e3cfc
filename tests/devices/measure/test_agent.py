"""The device agent as a second process, and a pipeline without it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.device import Budget, Device, DeviceError, ImportedTable
from devices.measure.agent.machine import RUNTIMES
from devices.measure.agent.pack import build_zipapp, packed_files
from devices.measure.client import Timeouts
from devices.measure.interleaved import MeasurementError, Protocol
from devices.measure.target import LocalTarget, RemoteTarget, open_target, prepare_models
from devices.runtimes.openvino.backend import why_absent
from devices.runtimes.registry import BACKENDS, backend
from tests.agents import ENDLESS, TOKEN, Agent, until

ROOT = Path(__file__).resolve().parents[3]
QUICK = Protocol(blocks=3, calls=5, time_limit_s=0.1)


@pytest.fixture(scope="session")
def opened(small: Path) -> Iterator[Callable[[str], Path]]:
    """A small network built for each runtime, once per session."""
    with ExitStack() as built:

        @cache
        def build(name: str) -> Path:
            runtime = backend(name)
            if not runtime.capabilities().can_run:
                pytest.skip(runtime.capabilities().reason)
            return built.enter_context(prepare_models(runtime, device(backend=name), [small]))[
                small
            ]

        yield build


def device(**changes: Any) -> Device:
    return Device(
        **{"backend": "onnxruntime", "budget": Budget(latency_ms=1.0), "min_accuracy": 0.0}
        | changes
    )


@pytest.mark.slow
def test_one_file_measures_by_the_protocol_and_gives_the_outputs_of_the_backend(
    agent: Agent, small: Path, large: Path
) -> None:
    target = RemoteTarget(agent.client(), device())
    done: list[str] = []
    found = target.measure({"small": small, "large": large}, small, QUICK, done.append)
    assert done == ["small", "large"]
    assert found["large"].ratio > 1.5 * found["small"].ratio > 0
    assert found["large"].ms / found["small"].ms == pytest.approx(
        found["large"].ratio / found["small"].ratio
    )
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1, 1, 8, 8)).astype(np.float32) for _ in range(5)]
    there, here = (b.outputs(small, images) for b in (target, LocalTarget("phone", device())))
    assert there.shape == (5, 5)
    assert there.dtype == np.float32
    np.testing.assert_array_equal(there, here)
    machine = target.machine()
    assert machine["runtime_version"] == backend("onnxruntime").version()
    assert machine["session_threads"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_of_the_agent_computes_what_the_backend_of_its_name_does(
    name: str, opened: Callable[[str], Path]
) -> None:
    runtime, kind = backend(name), RUNTIMES[name]
    assert (kind.runtime, kind.package) == (runtime.runtime, runtime.package)
    image = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    session = kind(opened(name), 1)
    with runtime.open(opened(name), 1) as expected:
        assert session.input_shape == tuple(expected.input_shape)
        np.testing.assert_array_equal(session(image), expected(image))


def test_a_model_of_several_files_travels_whole(agent: Agent, small: Path, tmp_path: Path) -> None:
    edge = device(backend="openvino")
    built = backend("openvino").build(small, "float32", tmp_path, edge)
    assert len(built.files) == 2
    found = RemoteTarget(agent.client(), edge).measure(
        {"x": tmp_path / built.entry}, tmp_path / built.entry, QUICK
    )
    assert 0.1 < found["x"].ratio < 10


def test_a_unit_that_the_device_has_not_is_the_jobs_end_and_the_processor_takes_no_place(
    agent: Agent, small: Path
) -> None:
    if why_absent("GPU") == "":
        pytest.skip("this machine has a GPU that OpenVINO uses")
    away = device(backend="openvino", openvino_device="GPU")
    with pytest.raises(MeasurementError, match=r"'phone' .*failed on 'x': .*OpenVINO finds no GPU"):
        RemoteTarget(agent.client(), away).measure({"x": small}, small, QUICK)
    assert RemoteTarget(agent.client(), away).machine()["unit"] == "GPU"


def test_an_agent_of_another_version_is_refused(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.measure.client.SCHEMA", "netwright/agent/99")
    with pytest.raises(
        DeviceError, match=r"has schema 'netwright/agent/3', .*netwright agent --write"
    ):
        agent.client().machine("onnxruntime")


def test_a_model_that_does_not_open_is_the_jobs_end_and_not_the_agents(
    agent: Agent, small: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    target = RemoteTarget(agent.client(), device())
    with pytest.raises(MeasurementError, match=r"'phone' .*failed on 'x': ONNX Runtime"):
        target.measure({"x": broken}, small, QUICK)
    assert target.measure({"x": small}, small, QUICK)["x"].ms > 0


@pytest.mark.slow
def test_a_job_past_its_time_is_stopped_and_the_next_one_runs(
    agent: Agent, small: Path, large: Path
) -> None:
    timeouts = Timeouts(request_s=10.0, unreachable_s=1.0, busy_s=30.0, job_s=1.5)
    with pytest.raises(MeasurementError, match=r"longer than its limit of 1\.5 s"):
        RemoteTarget(agent.client(timeouts), device()).measure(
            {"x": large}, small, Protocol(**ENDLESS)
        )
    assert RemoteTarget(agent.client(), device()).measure({"x": small}, small, QUICK)["x"].ms > 0


def test_a_device_that_vanishes_in_the_middle_is_named(
    mortal: Agent, small: Path, large: Path
) -> None:
    killer = threading.Thread(
        target=lambda: (until(lambda: mortal.running() is not None, "a job"), mortal.kill())
    )
    killer.start()
    with pytest.raises(DeviceError, match=r"'phone' does not answer at .*'x'.*netwright agent"):
        RemoteTarget(mortal.client(), device()).measure({"x": large}, small, Protocol(**ENDLESS))
    killer.join()


@pytest.mark.slow
def test_a_device_that_comes_back_gets_the_job_again(
    mortal: Agent, small: Path, large: Path, tmp_path: Path
) -> None:
    """Killed while it measures and restarted: the job succeeds."""
    long = Protocol(blocks=20, calls=500)
    patient = Timeouts(request_s=10.0, unreachable_s=30.0, busy_s=60.0, job_s=120.0)

    def restart() -> None:
        until(lambda: mortal.running() is not None, "a job")
        port = mortal.port
        mortal.kill()
        time.sleep(0.3)  # unreachable for a while
        mortal.start(port)

    restarter = threading.Thread(target=restart)
    restarter.start()
    done: list[str] = []
    models = {"first": small, "second": small}
    found = RemoteTarget(mortal.client(patient), device()).measure(models, small, long, done.append)
    restarter.join()
    assert done == ["first", "second"]
    assert all(row.ms > 0 for row in found.values())


def test_a_device_names_its_agent_and_the_variable_of_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = device(agent="phone.local:8600", agent_token_env="PHONE_TOKEN")
    monkeypatch.delenv("PHONE_TOKEN", raising=False)
    with pytest.raises(DeviceError, match=r"devices\.phone\.agent.*PHONE_TOKEN is not set"):
        open_target("phone", away)
    monkeypatch.setenv("PHONE_TOKEN", TOKEN)
    assert open_target("phone", away).why_not_measured == ""
    gpu = device(backend="tensorrt", compute_capabilities=("SM86",), agent="phone.local:8600")
    with pytest.raises(DeviceError, match=r"not 'tensorrt': .*GPU.*--import"):
        open_target("phone", gpu)
    with pytest.raises(DeviceError, match="Did you mean 'openvino'"):
        open_target("phone", device(backend="openvin", agent="phone.local:8600"))
    for wrong in ("phone", "http://phone:1", "phone:port", "a b:1"):
        with pytest.raises(ValueError, match="agent"):
            device(agent=wrong)
    with pytest.raises(ValueError, match="remove one"):
        device(agent="a:1", table=ImportedTable(file="x.csv", sha256="0" * 64))


def test_the_agent_runs_every_runtime_but_those_that_state_what_it_lacks() -> None:
    assert {*RUNTIMES} == {name for name, r in BACKENDS.items() if not r.session.agent_needs}


def test_the_packed_agent_imports_only_itself_numpy_and_runtimes() -> None:
    files = packed_files()
    # ExecuTorch's Python interface needs PyTorch.
    allowed = {"numpy", "torch", *(r.package for r in BACKENDS.values()), *sys.stdlib_module_names}
    for name, file in files.items():
        for module in imported_modules(name, file):
            own = module.replace(".", "/")
            known = {f"{own}.py", f"{own}/__init__.py"} & files.keys()
            assert known or module.split(".")[0] in allowed, f"{name}: {module}"
    assert build_zipapp() == build_zipapp()


def imported_modules(name: str, file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split("/")[: -node.level] if node.level else []
            yield ".".join([*above, *([node.module] if node.module else [])])


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_no_runtime_reports_to_its_maker(
    name: str, opened: Callable[[str], Path], tmp_path: Path
) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from devices.measure.agent.machine import RUNTIMES\n"
        "os.register_at_fork(before=lambda: print('forked'))\n"
        f"RUNTIMES[{name!r}](Path(sys.argv[1]), 1)\n"
        "print(sorted(os.listdir(os.environ['TMPDIR'])), 'openvino_telemetry.main' in sys.modules)"
    )
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(opened(name))],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["[] False"]
