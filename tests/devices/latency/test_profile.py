"""The stage `profile` on a tiny space, measured for real."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.stage import run_stage
from devices.device import Budget, Device, DeviceError
from devices.latency.budgets import limits
from devices.latency.cost import predict_ms
from devices.latency.device_profile import DeviceProfile, draw_held_out
from devices.latency.feasibility import check_feasible, least_latency, measure_ends
from devices.latency.networks import draw_networks, split_networks
from devices.latency.plan import Plan
from devices.latency.regression import Coefficient, Regression
from devices.latency.settings import ProfileParams
from devices.latency.table import Choice, Correction, HeldOut, LatencyTable
from devices.measure.target import LocalTarget, Target
from devices.runtimes.registry import backend
from models.space.costs import block_flops
from models.space.limits import InfeasibleBudgetError
from models.space.space import SearchSpace
from models.space.spec import SpaceError
from models.space.stage_features import stage_features, stage_sizes
from stages.profile import profile
from tests.spaces import all_architectures

SPACE = """
name: tiny
sizes: [8, 16]
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - layers: 2
    stride: 2
    channels: [4, 8]
    skip: true
    operators: {mbconv: {kernel: [3], expansion: [2, 3]}}
head: {operator: classifier, settings: {width: 16}}
"""
PARAMS = """
profile:
  {networks: 5, held_out: 2, blocks: 3, network_blocks: 3, calls: 5, time_limit_s: 0.1}
devices:
  here: {backend: onnxruntime, budget: {latency_ms: 50.0}, min_accuracy: 0.1, max_error: 50.0}
  strict: {backend: onnxruntime, budget: {latency_ms: 50.0}, min_accuracy: 0.1, max_error: 1.0e-9}
  tight: {backend: openvino, budget: {flops: 10}, min_accuracy: 0.1}
  away:
    backend: tensorrt
    compute_capabilities: [SM86]
    budget: {flops: 100000000}
    min_accuracy: 0.1
  dsp:
    backend: onnxruntime
    precision: int8
    budget: {latency_ms: 50.0}
    min_accuracy: 0.1
    max_error: 50.0
  wrong: {backend: onnxruntim, budget: {flops: 100000000}, min_accuracy: 0.1}
"""
DATASET = {
    "schema": "netwright/dataset/1",
    "name": "digits",
    "image_shape": [1, 8, 8],
    "classes": ["a", "b", "c"],
    "mean": [0.5],
    "std": [0.5],
    "counts": {"train": {}, "val": {}, "test": {}},
    "augment": {"flip": False, "shift": 0},
    "fit": "pad",
    "source": {},
    "arrays": {},
}


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    (tmp_path / "space.yaml").write_text(SPACE)
    return SearchSpace.load(tmp_path / "space.yaml", (1, 8, 8), 3)


@pytest.fixture
def run(tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs the stage for a device and returns its output."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(DATASET))

    def run(device: str) -> Path:
        flags = {"params": "params.yaml", "space": "space.yaml", "data": "data", "out": device}
        words = [f"--{flag}={tmp_path / name}" for flag, name in flags.items()]
        run_stage(profile, ["--device", device, *words])
        return tmp_path / device

    return run


@pytest.mark.slow
def test_a_device_that_runs_here_gets_a_table_for_every_network_and_a_picture(
    run, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run("here")
    table = DeviceProfile.read(out).table
    assert table.measured
    assert set(table.block_ms) == {block.key for block in space.blocks()}
    assert table.precisions == ("float32", "int8")
    assert len(table.error["int8"].pairs) == 2
    for architecture in all_architectures(space):
        assert np.isfinite(predict_ms(table, architecture, "int8"))
    content = json.loads((out / "latency.json").read_text())
    assert content["why_not_measured"] is None
    assert content["machine"]["runtime"] == "ONNX Runtime"
    assert content["reference"] == space.extreme(block_flops).to_json()
    assert content["budget_ms"] == 50.0
    said = capsys.readouterr().out
    assert "held-out networks" in said
    count = len(table.block_ms) + 2 * 7
    assert f"95% intervals of {count} latencies" in said
    assert len(content["measurements"]) == count
    for key, row in content["measurements"].items():
        assert row["interval"][0] <= row["ms"] <= row["interval"][1], key
    assert all(content["measurements"][key]["ms"] == pytest.approx(ms, rel=1e-3)
               for key, ms in table.block_ms.items())  # fmt: skip
    first = (out / "latency.png").read_bytes()
    draw_held_out(table, out / "latency.png")
    assert (out / "latency.png").read_bytes() == first


def test_of_a_device_that_runs_int8_only_blocks_are_measured_that_it_may_get(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def measure(space: SearchSpace, target: Target, params: ProfileParams) -> DeviceProfile:
        plans.append(Plan.of(space, target.device, params))
        return DeviceProfile(LatencyTable.unmeasured(target.name, "onnxruntime"))

    monkeypatch.setattr("devices.latency.profile_device.measure_device", measure)
    text = SPACE.replace("[2, 3]}}", "[2, 3], squeeze_excite: [0, 1]}}")
    smaller = text.replace("[4, 8]", "[4]").replace("layers: 2", "layers: 3")
    (tmp_path / "space.yaml").write_text(smaller)
    whole = SearchSpace.load(tmp_path / "space.yaml", (1, 8, 8), 3)
    run("dsp")
    assert plans[0].precisions == ("float32", "int8")
    assert set(plans[0].blocks) == {b.key for b in whole.blocks() if "squeeze" not in b.key}
    assert any("squeeze" in block.key for block in whole.blocks())


def test_a_device_that_this_machine_lacks_is_not_measured_and_says_why(run) -> None:
    device = Device(
        backend="tensorrt",
        budget=Budget(flops=1),
        min_accuracy=0,
        compute_capabilities=("SM86",),
    )
    if not backend("tensorrt").why_not_measured(device):
        pytest.skip("this machine has the GPU")
    out = run("away")
    content = json.loads((out / "latency.json").read_text())
    assert content["measured"] is False
    assert content["block_ms"] is content["measurements"] is None
    assert "No NVIDIA GPU" in content["why_not_measured"]
    assert not DeviceProfile.read(out).table.measured
    assert sorted(path.name for path in out.iterdir()) == ["latency.json"]


def test_what_is_wrong_with_a_device_stops_the_stage_before_it_measures(run) -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"devices\.tight\.budget\.flops"):
        run("tight")
    with pytest.raises(DeviceError, match=r"devices\.wrong\.backend: .*Did you mean 'onnxruntime'"):
        run("wrong")


def test_a_latency_model_past_the_devices_limit_writes_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = HeldOut(0.1, 0.0, 1.0, ((1.1, 1.0),))
    table = LatencyTable(
        "strict", "onnxruntime", {"block": 1.0}, {"block": 1}, {}, {"float32": error}
    )
    monkeypatch.setattr(
        "devices.latency.profile_device.measure_device", lambda *_: DeviceProfile(table)
    )
    with pytest.raises(UserError, match=r"devices\.strict\.max_error"):
        run("strict")
    assert not (tmp_path / "strict" / "latency.json").exists()


def test_a_latency_budget_below_the_fastest_network_is_infeasible(space: SearchSpace) -> None:
    table = LatencyTable(
        "here",
        "onnxruntime",
        {block.key: block_flops(block) / 1e6 for block in space.blocks()},
        {block.key: block_flops(block) for block in space.blocks()},
        {"float32": Correction(1.0, 0.0, -0.001, 0.5)},
        {},
    )

    def predict(architecture) -> float:
        return table.predict([block.key for block in architecture.present])

    fastest = min(map(predict, all_architectures(space)))
    for factor, feasible in ((1.001, True), (0.999, False)):
        budget = Budget(latency_ms=fastest * factor)
        device = Device(backend="onnxruntime", budget=budget, min_accuracy=0)
        check_feasible(space, "here", device, None)
        if feasible:
            check_feasible(space, "here", device, table)
        else:
            with pytest.raises(InfeasibleBudgetError, match=f"needs {fastest:.4g}"):
                check_feasible(space, "here", device, table)


def entangled(space: SearchSpace, seed: int) -> LatencyTable:
    """A table that uses a regression unrelated to its blocks."""
    rng = np.random.default_rng(seed)
    sizes = stage_sizes(space.groups)
    names = stage_features(space.sample(rng), sizes)
    signs = {name: Coefficient(float(rng.normal()), 0.0, 0.0, 0.0) for name in names}
    return LatencyTable(
        "here",
        "onnxruntime",
        {block.key: 1.0 for block in space.blocks()},
        {block.key: block_flops(block) for block in space.blocks()},
        {"float32": Correction(1.0, 0.0, 0.0, 0.0)},
        {},
        {"float32": Regression(1000.0, 1.0, signs)},
        {"float32": Choice("regression", {}, {})},
        sizes,
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_latency_that_is_no_sum_of_blocks_is_searched_for_and_never_called_exact(
    space: SearchSpace, seed: int
) -> None:
    table = entangled(space, seed)
    assert not table.additive("float32")

    def predict(architecture) -> float:
        return predict_ms(table, architecture, "float32")

    architecture = space.sample(np.random.default_rng(seed))
    features = stage_features(architecture, table.stages)
    assert predict(architecture) == table.regressions["float32"].predict(features)
    fastest = min(map(predict, all_architectures(space)))
    for budget_ms, feasible in ((fastest + 0.5, True), (fastest - 0.5, False)):
        budget = Budget(latency_ms=budget_ms)
        device = Device(backend="onnxruntime", budget=budget, min_accuracy=0)
        (limit,) = limits(device, table)
        assert not limit.cost.exact
        assert limit.cost(architecture) == predict(architecture)
        if feasible:
            check_feasible(space, "here", device, table)
        else:
            with pytest.raises(InfeasibleBudgetError, match=r"found in \d+ searches; the closest"):
                check_feasible(space, "here", device, table)


def test_networks_differ_and_reach_from_the_smallest_to_the_largest(space: SearchSpace) -> None:
    networks = draw_networks(space, 10, np.random.default_rng(0))
    assert len({network.id for network in networks}) == 10
    assert networks[0] == space.extreme(block_flops)
    assert networks[-1] == space.extreme(block_flops, largest=True)
    fitted, judged = split_networks(networks, 3)
    assert (len(fitted), len(judged)) == (7, 3)
    assert set(fitted).isdisjoint(judged)
    assert draw_networks(space, 10, np.random.default_rng(0)) == networks
    with pytest.raises(SpaceError, match="too small for 500 different networks"):
        draw_networks(space, 500, np.random.default_rng(0))


def test_only_precisions_that_matter_are_measured(space: SearchSpace) -> None:
    params = ProfileParams(networks=4, held_out=1, seed=0)
    counts = {}
    for precision in ("auto", "float32", "int8"):
        budget = Budget(flops=10**9)
        device = Device(backend="onnxruntime", budget=budget, min_accuracy=0, precision=precision)
        plan = Plan.of(space, device, params)
        counts[precision] = plan.steps
        assert plan.precisions[0] == "float32"
    assert counts["auto"] == counts["int8"] == counts["float32"] + 2 * 5


def test_the_smallest_network_is_measured_against_the_largest(space: SearchSpace) -> None:
    device = Device(backend="onnxruntime", budget=Budget(latency_share=0.5), min_accuracy=0)
    ends = measure_ends(space, LocalTarget("x", device))
    ms, (low_ms, high_ms) = least_latency(ends, "latency_ms")
    share, (low, high) = least_latency(ends, "latency_share")
    assert 0 < low_ms <= ms <= high_ms < 1000
    assert low <= share <= high
    assert ms == pytest.approx(share * ends.reference_ms)
