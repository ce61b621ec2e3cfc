"""The device agent as a second process, and a pipeline without it."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import signal
import socket
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
from devices.measure.agent.jobs import SCHEMA, JobError, check_job
from devices.measure.agent.machine import RUNTIMES
from devices.measure.agent.pack import build_zipapp, packed_files
from devices.measure.agent.server import LEAST_TOKEN, TOKEN_VARIABLE, read_token
from devices.measure.client import Timeouts
from devices.measure.interleaved import MeasurementError, Protocol
from devices.measure.target import LocalTarget, RemoteTarget, open_target, prepare_models
from devices.runtimes.openvino.backend import why_absent
from devices.runtimes.registry import BACKENDS, backend
from tests.agents import TOKEN, Agent

ROOT = Path(__file__).resolve().parents[3]
ENDLESS = {"blocks": 1000, "calls": 100_000, "max_interval": 1.0, "time_limit_s": 1.0}
QUICK = Protocol(blocks=3, calls=5, time_limit_s=0.1)


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent shared by many tests."""
    started = Agent(tmp_path_factory.mktemp("device"))
    yield started
    started.kill()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Agent]:
    """An agent that a test may kill."""
    started = Agent(tmp_path)
    yield started
    started.kill()


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


def job_for(file: Path, **changes: Any) -> tuple[dict[str, Any], bytes]:
    content = file.read_bytes()
    row = {"name": file.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    job = {
        "schema": SCHEMA, "id": "0" * 32, "kind": "measure", "label": "x", "seconds": 60,
        "backend": "onnxruntime", "threads": 1, "unit": "CPU", "files": [row], "model": file.name,
        "reference": file.name,
        "protocol": {"blocks": 3, "calls": 5, "max_interval": 1.0, "time_limit_s": 0.1},
    }  # fmt: skip
    return job | changes, content


def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail(f"never: {what}")


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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_ends_leaves_no_job_running_and_no_file(
    how: signal.Signals, mortal: Agent, large: Path
) -> None:
    job, content = job_for(large, protocol=ENDLESS)
    code, _ = mortal.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content)
    assert code == 202
    until(lambda: mortal.running() == "0" * 32, "the job")
    assert list(mortal.scratch.iterdir())
    mortal.kill(how)
    until(lambda: not list(mortal.scratch.iterdir()), "an empty folder")


def test_a_cancelled_job_stops_at_once(agent: Agent, large: Path) -> None:
    job, content = job_for(large, protocol=ENDLESS)
    agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content)
    until(lambda: agent.running() == "0" * 32, "the job")
    agent.request("DELETE", f"/jobs/{'0' * 32}")
    until(lambda: agent.running() is None, "stopped")


def test_the_queue_is_bounded_and_a_full_one_says_so(agent: Agent, large: Path) -> None:
    codes = []
    for number in range(11):
        job, content = job_for(large, id=f"{number:032x}", protocol=ENDLESS)
        codes.append(agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content)[0])
        until(lambda: agent.running() is not None, "the first job")
    assert codes == [202] * 9 + [503] * 2  # one that runs, eight that wait
    for number in reversed(range(11)):
        agent.request("DELETE", f"/jobs/{number:032x}")
    until(lambda: agent.running() is None, "empty again")


@pytest.mark.parametrize("given", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "é" * 20])
@pytest.mark.parametrize("path", ["/health", "/fingerprint", "/jobs/0"])
def test_nothing_is_told_without_the_token(agent: Agent, path: str, given: str | None) -> None:
    if given is not None and not given.isascii():
        given = given.encode().decode("latin-1")
    for method in ("GET", "DELETE", "POST"):
        code, answer = agent.request(method, path, token=given)
        assert (code, answer) == (401, {"error": "wrong or missing token."})


def test_a_wrong_token_is_said_to_be_wrong(agent: Agent, small: Path) -> None:
    with pytest.raises(DeviceError, match=r"wrong or missing token.*agent_token_env"):
        agent.client(token="not-the-token-that-it-wants").machine("onnxruntime")


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another schema": ({"schema": "x"}, "schema"),
    "a path for an id": ({"id": "../../../../../../../tmp/evil0000"}, "id"),
    "another kind": ({"kind": "pickle"}, "kind"),
    "a list for a kind": ({"kind": ["run"]}, "kind"),
    "an unknown backend": ({"backend": "os"}, "backend"),
    "no threads": ({"threads": 0}, "threads"),
    "true threads": ({"threads": True}, "threads"),
    "no unit": ({"unit": None}, "unit"),
    "a unit that the runtime has not": ({"unit": "GPU"}, "unit must be one of CPU"),
    "a path for a unit": ({"backend": "openvino", "unit": "GPU.1/.."}, "unit"),
    "no time": ({"seconds": float("nan")}, "seconds"),
    "no files": ({"files": []}, "files"),
    "a path for a name": ({"files": [{"name": "../x", "bytes": 1, "sha256": ""}]}, "files: name"),
    "a hidden name": ({"files": [{"name": ".x", "bytes": 1, "sha256": ""}]}, "files: name"),
    "the agent's own name": (
        {"files": [{"name": "answer.json", "bytes": 1, "sha256": ""}], "model": "answer.json"},
        "own",
    ),
    "one name twice": ({"files": [{"name": "x", "bytes": 1, "sha256": ""}] * 2}, "differ"),
    "another model": ({"model": "y.onnx"}, "model"),
    "a list for a model": ({"model": []}, "model"),
    "a number for a file": ({"files": [7]}, "files"),
    "no protocol": ({"protocol": None}, "protocol"),
    "an endless protocol": ({"protocol": ENDLESS | {"blocks": 10**9}}, "blocks"),
    "a protocol without an end": ({"protocol": ENDLESS | {"time_limit_s": 0}}, "time_limit_s"),
    "a protocol of another version": (
        {"protocol": {"blocks": 3, "calls": 5, "max_spread": 0.5}},
        "exactly",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_with_something_wrong_in_it_is_refused_by_the_fields_name(
    change: str, small: Path
) -> None:
    changes, word = CHANGES[change]
    job, _ = job_for(small)
    check_job(job)
    with pytest.raises(JobError, match=word):
        check_job(job | changes)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"\x80\x04.\n", "not JSON"),
        (b"{}\n", "schema"),
        (b"null", "object"),
    ],
)
def test_what_is_no_job_is_refused_and_the_agent_lives(
    agent: Agent, body: bytes, word: str
) -> None:
    code, answer = agent.request("POST", "/jobs", body)
    assert code == 400
    assert word in answer["error"]
    assert agent.request("GET", "/health")[0] == 200


def test_damaged_short_and_too_large_uploads_are_refused(agent: Agent, small: Path) -> None:
    job, content = job_for(small)
    damaged = bytes([content[0] ^ 1]) + content[1:]
    code, answer = agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + damaged)
    assert (code, "damaged" in answer["error"]) == (400, True)
    code, answer = agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content[:-1])
    assert (code, "not as long" in answer["error"]) == (400, True)
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as line:
        line.sendall(
            b"POST /jobs HTTP/1.1\r\nAuthorization: Bearer " + TOKEN.encode()
            + b"\r\nContent-Length: 99999999999\r\n\r\n"
        )  # fmt: skip
        assert b"past the limit" in line.makefile("rb").read()
    assert agent.running() is None


def test_an_agent_without_a_good_token_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(JobError, match=f"at least {LEAST_TOKEN}.*{TOKEN_VARIABLE}"):
        read_token(None)
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(JobError, match="at least"):
        read_token(tmp_path / "token")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    with pytest.raises(JobError, match="cannot be read"):
        read_token(tmp_path / "nowhere")


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
