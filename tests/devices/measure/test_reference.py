import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import UserError
from devices.device import Budget, Device
from devices.measure.fingerprint import differences, machine_state
from devices.measure.interleaved import Protocol
from devices.measure.reference import REFERENCE, LatencyReference
from devices.measure.target import open_target
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.space.space import SearchSpace

SPACE = Path(__file__).parents[3] / "models/spaces/compact.yaml"


HERE = Device(backend="onnxruntime", budget=Budget(latency_ms=1.0), min_accuracy=0.0)


def write_profile(folder: Path, reference_ms: float | None, **machine: Any) -> None:
    content = {
        "schema": "netwright/latency/1",
        "reference_ms": reference_ms,
        "machine": machine_state("onnxruntime", 1) | machine,
    }
    (folder / "latency.json").write_text(json.dumps(content))


def test_a_profile_without_a_measured_reference_is_refused(tmp_path: Path) -> None:
    write_profile(tmp_path, None)
    reference = LatencyReference.read(tmp_path)
    with pytest.raises(UserError, match="netwright profile x"):
        reference.measure(open_target("x", HERE), {}, Protocol(5, 20, time_limit_s=0.5))


@pytest.mark.slow
def test_a_latency_is_the_ratio_in_the_profiles_milliseconds(tmp_path: Path) -> None:
    write_profile(tmp_path, 7.0)
    torch.manual_seed(0)
    space = SearchSpace.load(SPACE, (1, 28, 28), 10)
    network = Subnet(space.sample(np.random.default_rng(0)))
    (tmp_path / REFERENCE).write_bytes(to_onnx(network, (1, 28, 28)))
    models = {"same": tmp_path / REFERENCE}
    measured = LatencyReference.read(tmp_path).measure(
        open_target("x", HERE), models, Protocol(5, 20, time_limit_s=0.5)
    )
    found = measured["same"]
    assert found.ms == pytest.approx(found.ratio * 7.0)
    assert 0.3 < found.ratio < 3  # a network against itself, on a machine that may be busy


def test_what_was_measured_on_another_machine_is_never_mixed_with_this_one(tmp_path: Path) -> None:
    write_profile(tmp_path, 7.0, processor="Abacus 9000", runtime_version="0.1")
    (tmp_path / REFERENCE).write_bytes(b"never opened")
    words = r"table of 'x' is stale: processor was 'Abacus 9000' and is .*runtime version was '0.1'"
    with pytest.raises(UserError, match=f"{words}.*netwright profile x"):
        LatencyReference.read(tmp_path).measure(
            open_target("x", HERE), {}, Protocol(5, 20, time_limit_s=0.5)
        )


def test_clocks_and_load_are_recorded_but_do_not_make_a_table_stale(tmp_path: Path) -> None:
    now = machine_state("onnxruntime", 1)
    assert differences(now | {"clock_mhz": 1.0, "load": 99.0, "governor": "x"}, now) == []
    assert differences(now, now | {"session_threads": 2}) == ["session threads was 1 and is 2"]
    assert differences(None, now) == ["the machine of the measurement is not recorded"]
