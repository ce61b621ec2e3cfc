"""A bundle for an Intel GPU, built on a machine without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bundles.check.verify import verify
from bundles.read import read_bundle
from core.files import write_json
from core.yaml_file import read_yaml
from devices.latency.table import LatencyTable
from devices.measure.reference import LATENCY
from devices.runtimes.openvino.session import why_absent
from tests.bundles.forging import unpack


@pytest.fixture
def away(world: Any, tmp_path: Path) -> Any:
    """The session's trained network, for a device that is not available."""
    if why_absent("GPU") == "":
        pytest.skip("this machine has a GPU that OpenVINO uses")
    root = tmp_path / "away"
    root.mkdir()
    for name in ("data", "train", "rank"):
        (root / name).symlink_to(world.root / name)
    device = {
        "backend": "openvino", "openvino_device": "GPU", "min_accuracy": 0.5,
        "budget": {"flops": 10**9}, "max_accuracy_drop": 0.2,
    }  # fmt: skip
    params = read_yaml(world.params) | {"devices": {"gpu": device}}
    (root / "params.yaml").write_text(json.dumps(params))
    table = LatencyTable.unmeasured("gpu", "openvino").to_json()
    write_json(root / "profile" / "gpu" / "latency.json", LATENCY, table)
    return type(world)(root)


def test_it_is_built_and_evaluated_with_its_portable_file_and_runs_only_on_a_gpu(
    away: Any, tmp_path: Path
) -> None:
    quantized = json.loads((away.quantize("gpu") / "quantize.json").read_text())
    assert quantized["chosen"] == "float32"
    assert {row["latency_ms"] for row in quantized["candidates"]} == {None}
    exported = json.loads((away.export("gpu") / "export.json").read_text())
    assert exported["measured_ms"] is exported["accuracy"] is None
    assert "OpenVINO finds no GPU on this machine" in exported["why_not_measured"]
    assert exported["details"]["openvino_device"] == "GPU"

    archive = away.bundle("gpu")
    checks = {check.name: check for check in verify(archive, latency=True).checks}
    assert [name for name, check in checks.items() if not check.passed] == ["latency"]
    assert "ONNX Runtime" in checks["golden"].detail
    assert "OpenVINO finds no GPU" in checks["golden"].detail
    assert "cannot be measured. OpenVINO finds no GPU" in checks["latency"].detail
    assert "OpenVINO on its GPU" in read_bundle(archive).files["MODEL_CARD.md"].decode()

    done = run_py(unpack(archive, tmp_path / "there"))
    assert done.returncode == 1
    assert "error: model.xml cannot be run here. OpenVINO finds no GPU" in done.stderr
    assert done.stderr.endswith("; --portable runs the ONNX file\n")
    assert "Traceback" not in done.stderr
    assert run_py(tmp_path / "there", "--portable").returncode == 0


def run_py(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "run.py", *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
