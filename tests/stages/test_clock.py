import json
from pathlib import Path

import numpy as np
import pytest
import torch

from devices.measure import Protocol
from models.onnx_export import to_onnx
from models.space import SearchSpace
from models.subnet import Subnet
from stages.common.clock import REFERENCE, Clock, ClockError

SPACE = Path(__file__).parents[2] / "models/spaces/compact.yaml"


def write_profile(folder: Path, reference_ms: float | None) -> None:
    content = {"schema": "netwright/latency/1", "reference_ms": reference_ms}
    (folder / "latency.json").write_text(json.dumps(content))


def test_a_profile_without_a_measured_reference_is_refused(tmp_path: Path) -> None:
    write_profile(tmp_path, None)
    with pytest.raises(ClockError, match="netwright profile"):
        Clock.read(tmp_path)


def test_a_latency_is_the_ratio_in_the_profiles_milliseconds(tmp_path: Path) -> None:
    write_profile(tmp_path, 7.0)
    torch.manual_seed(0)
    space = SearchSpace.load(SPACE, (1, 28, 28), 10)
    network = Subnet(space.sample(np.random.default_rng(0)))
    (tmp_path / REFERENCE).write_bytes(to_onnx(network, (1, 28, 28)))
    models = {"same": tmp_path / REFERENCE}
    found = Clock.read(tmp_path).measure("onnxruntime", models, 1, Protocol(5, 20, 100.0))["same"]
    assert found.ms == pytest.approx(found.ratio * 7.0)
    assert 0.3 < found.ratio < 3  # a network against itself, on a machine that may be busy
