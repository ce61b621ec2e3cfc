"""A remote device, from the trained network to the verified bundle."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundles.check.verify import verify
from core.files import write_bytes, write_json
from core.process import run_main
from core.yaml_file import read_yaml
from devices.latency.table import LatencyTable
from devices.measure.delivered import ExportResult
from devices.measure.reference import LATENCY
from devices.quantize.result import QuantizeResult
from pipelines.cli.bundles import target_finder
from tests.agents import TOKEN, Agent

VARIABLE = "TOKEN_OF_THE_CAMERA"
BACKEND = "openvino"  # its model is two files, built locally and run remotely


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    started = Agent(tmp_path)
    yield started
    started.kill()


@pytest.fixture
def camera(world: Any, agent: Agent, tmp_path: Path) -> Any:
    """The session's trained network, with one device that has an agent and was profiled by it."""
    root = tmp_path / "camera"
    root.mkdir()
    for name in ("data", "train", "rank"):
        (root / name).symlink_to(world.root / name)
    (root / "dvc.yaml").touch()  # marks the repository for `netwright verify`
    params = read_yaml(world.params)
    params["devices"] = {
        "camera": {
            "backend": BACKEND, "precision": "int8", "budget": {"latency_ms": 50.0},
            "min_accuracy": 0.5, "agent": f"127.0.0.1:{agent.port}", "agent_token_env": VARIABLE,
            "agent_patience_s": 0.5,
        }
    }  # fmt: skip
    (root / "params.yaml").write_text(json.dumps(params))
    machine = agent.client().machine(BACKEND) | {"session_threads": 1}
    table = LatencyTable.unmeasured("camera", BACKEND).to_json()
    content = table | {"reference_ms": 0.05, "machine": machine}
    write_json(root / "profile" / "camera" / "latency.json", LATENCY, content)
    reference = (world.root / "profile" / "edge" / "reference.onnx").read_bytes()
    write_bytes(root / "profile" / "camera" / "reference.onnx", reference)
    return type(world)(root)


def kill_in_the_first_job(agent: Agent) -> Callable[[], None]:
    """Kill the agent as soon as it measures; returns what waits for that."""

    def watch() -> None:
        until = time.monotonic() + 60
        while agent.running() is None and time.monotonic() < until:
            time.sleep(0.005)
        agent.kill()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread.join


def test_quantised_exported_bundled_and_verified_on_the_device_though_its_agent_is_killed_once(
    camera: Any, agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = kill_in_the_first_job(agent)
    with pytest.raises(SystemExit) as ending:
        run_main(lambda: camera.quantize("camera"))
    killed()
    assert ending.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert f"error: the device 'camera' does not answer at 127.0.0.1:{agent.port}" in said
    assert "Start the agent there (netwright agent --port" in said
    assert not (camera.root / "quantize" / "camera" / "quantize.json").exists()

    agent.start(agent.port)  # same port
    quantized = json.loads((camera.quantize("camera") / "quantize.json").read_text())
    assert quantized["schema"] == QuantizeResult.SCHEMA
    assert len(quantized["candidates"]) >= 2
    assert all(row["latency_ms"] > 0 or row["rejected"] for row in quantized["candidates"])
    exported = json.loads((camera.export("camera") / "export.json").read_text())
    assert exported["schema"] == ExportResult.SCHEMA
    assert exported["files"] == ["model.xml", "model.bin"]
    assert exported["measured_ms"] > 0
    assert exported["accuracy"] > 0.5
    assert exported["hops"][0]["to"] == "delivered file in OpenVINO on 'camera'"
    assert exported["machine"]["runtime"] == "OpenVINO"

    archive = camera.bundle("camera")
    find = target_finder(camera.root, f"127.0.0.1:{agent.port}")
    checks = {c.name: c for c in verify(archive, find, latency=True).checks}
    assert all(check.passed for check in checks.values()), checks
    assert "with OpenVINO on 'camera'" in checks["golden"].detail
    assert "with OpenVINO on 'camera'" in checks["latency"].detail
    secrets = [file for file in camera.root.rglob("*.*") if TOKEN.encode() in file.read_bytes()]
    assert secrets == []
    assert verify(archive).passed, "without an agent it runs on this machine"

    agent.kill()
    late = {c.name: c for c in verify(archive, find).checks}
    assert not late["golden"].passed
    assert "'camera' does not answer" in late["golden"].detail
