"""The stage `profile` and its reference, with a remote device."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.stage import run_stage
from devices.device import Budget, Device, DeviceError
from devices.latency.device_profile import DeviceProfile
from devices.measure.interleaved import Protocol
from devices.measure.reference import REFERENCE, LatencyReference
from devices.measure.target import RemoteTarget, open_target
from stages.profile import profile
from tests.agents import SOON, TOKEN, Agent
from tests.devices.latency.test_profile import DATASET, SPACE

pytestmark = pytest.mark.slow

QUICK = Protocol(blocks=2, calls=3, time_limit_s=0.1)
PARAMS = {
    "networks": 4, "held_out": 1, "blocks": 2, "network_blocks": 2, "calls": 3,
    "time_limit_s": 0.1,
}  # fmt: skip
# As small as a space can be: every model costs a process on the device.
SMALL = SPACE.replace("[4, 8]", "[4]").replace("layers: 2", "layers: 3")


def test_a_device_behind_an_agent_is_profiled_and_keeps_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path)
    try:
        settings: dict[str, Any] = {
            "backend": "onnxruntime", "budget": {"latency_ms": 50.0}, "min_accuracy": 0.0,
            "max_error": 100.0, "precision": "float32", "agent": f"127.0.0.1:{agent.port}",
            "agent_token_env": "TOKEN_OF_THE_PHONE",
        }  # fmt: skip
        monkeypatch.setenv("TOKEN_OF_THE_PHONE", TOKEN)
        (tmp_path / "space.yaml").write_text(SMALL)
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "dataset.json").write_text(json.dumps(DATASET))
        params = {"profile": PARAMS, "devices": {"phone": settings}}
        (tmp_path / "params.yaml").write_text(json.dumps(params))
        flags = {"params": "params.yaml", "space": "space.yaml", "data": "data", "out": "out"}
        words = [f"--{flag}={tmp_path / name}" for flag, name in flags.items()]
        run_stage(profile, ["--device", "phone", *words])

        out = tmp_path / "out"
        content = json.loads((out / "latency.json").read_text())
        assert DeviceProfile.read(out).table.measured
        assert content["reference_ms"] > 0
        assert content["machine"]["runtime"] == "ONNX Runtime"
        assert TOKEN not in (out / "latency.json").read_text()

        budget = Budget(latency_ms=50.0)
        device = Device.model_validate(settings | {"budget": budget})
        clock, models = LatencyReference.read(out), {"same": out / REFERENCE}
        found = clock.measure(RemoteTarget(agent.client(), device), models, QUICK)["same"]
        assert found.ms == pytest.approx(found.ratio * content["reference_ms"])
        two = device.model_copy(update={"threads": 2})
        with pytest.raises(UserError, match="session threads was 1 and is 2"):
            clock.measure(RemoteTarget(agent.client(), two), models, QUICK)
        agent.kill()
        with pytest.raises(DeviceError, match="'phone' does not answer"):
            clock.measure(open_target("phone", device, SOON), models, QUICK)
    finally:
        agent.kill()
