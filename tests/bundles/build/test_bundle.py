import hashlib
import json
import shutil

import numpy as np
import pytest

from bundles.archive import BundleError
from bundles.gate import check_limits
from bundles.read import read_bundle
from core.files import read_json
from devices.device import Budget
from models.nets.equivalence import EquivalenceError
from models.search.choice import Choice
from models.space.architecture import Architecture
from models.space.costs import peak_activation_bytes
from models.space.space import SearchSpace
from tests.bundles.forging import unpack
from tests.spaces import architecture_at
from tests.support import ROOT

DEVICES = ["cpu", "edge", "gpu", "dsp", "phone"]


def test_the_same_inputs_give_the_same_bytes(world, bundles, tmp_path):
    again = world.bundle("cpu", tmp_path / "again")
    assert again.read_bytes() == bundles["cpu"].read_bytes()


@pytest.mark.parametrize("device", DEVICES)
def test_a_bundle_holds_what_the_contract_lists(bundles, device, tmp_path):
    folder = unpack(bundles[device], tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["schema"] == "netwright/bundle/1"
    present = {file.name for file in folder.iterdir()} - {"manifest.json"}
    expected = {"preprocess.json", "labels.json", "golden.npz", "MODEL_CARD.md", "run.py"}
    expected |= {"sbom.cdx.json", "quality.json"}
    assert present == expected | set(manifest["model"]["files"]) | {manifest["model"]["portable"]}
    for name, sha256 in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    assert set(manifest["files"]) == present


def test_golden_inputs_are_real_test_images_and_outputs_come_from_the_delivered_file(
    world, bundles, tmp_path
):
    folder = unpack(bundles["cpu"], tmp_path)
    images_NHWC = np.load(world.root / "data" / "test.images.npy")
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        assert set(golden) == {"images", "inputs", "labels", "outputs", "tolerance"}
        rows = images_NHWC.reshape(len(images_NHWC), -1).tolist()
        assert all(image.reshape(-1).tolist() in rows for image in golden["images"])
        assert golden["inputs"].shape == (6, 1, 28, 28)
        assert golden["outputs"].shape == (6, 10)
        assert float(golden["tolerance"]) > 0


def test_the_equivalence_checks_are_complete_from_supernet_to_delivered_file(bundles):
    chain = read_bundle(bundles["edge"]).manifest.checks
    names = [chain[0].source] + [check.target for check in chain]
    assert names == [
        "supernet slice",
        "subnet",
        "float32 ONNX",
        f"{read_bundle(bundles['edge']).manifest.model.built_from.removesuffix('.onnx')} ONNX",
        "delivered file in OpenVINO",
    ]
    assert all(check.passed for check in chain)
    for check in chain:
        assert None not in (
            check.max_difference,
            check.agreement,
            check.accuracy,
            check.accuracy_before,
        )
        assert None not in check.limit.model_dump().values()
        assert check.images >= 100
    assert chain[-1].accuracy == read_bundle(bundles["edge"]).manifest.accuracy.delivered


def test_an_unmeasured_check_has_no_numbers_and_a_reason(bundles):
    *judged, last = read_bundle(bundles["gpu"]).manifest.checks
    assert all(check.passed for check in judged)
    assert (last.source, last.target) == ("float32 ONNX", "delivered file in TensorRT")
    assert last.max_difference is last.agreement is last.accuracy is last.passed is None
    assert last.limit.agreement == 0.999
    assert "No NVIDIA GPU" in last.why_not_measured


@pytest.mark.parametrize("number", range(4))
def test_a_failed_check_stops_the_bundle_and_is_named(world, bundles, tmp_path, number):
    root = tmp_path / "world"
    shutil.copytree(world.root, root)
    files = [root / "train/train.json", root / "quantize/edge/quantize.json"]
    places = [
        (files[0], "slice"),
        (files[1], 0),
        (files[1], 1),
        (root / "export/edge/export.json", 0),
    ]
    file, key = places[number]
    content = json.loads(file.read_text())
    if file.name == "quantize.json" and key == 1:
        key = [f"{row['name']}.onnx" for row in content["candidates"]].index(content["file"])
    hop = content[key] if key == "slice" else content["hops"][key]
    hop["agreement"] = 0.2  # and still marked as passed
    file.write_text(json.dumps(content))
    with pytest.raises(
        EquivalenceError, match=f"from {hop['from']} to {hop['to']} changes the network"
    ):
        type(world)(root).bundle("edge", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_predicted_latency_is_the_tables_for_the_delivered_precision(world, bundles):
    manifest = read_bundle(bundles["cpu"]).manifest
    blocks = len(Architecture.from_json(manifest.architecture).present)
    per_block = {"float32": 0.1, "int8": 0.05}[manifest.precision]
    assert manifest.latency_ms.predicted == pytest.approx(blocks * per_block)


def test_non_reproducible_files_are_listed(bundles):
    assert read_bundle(bundles["gpu"]).manifest.model.not_reproducible == ("model.engine",)
    assert read_bundle(bundles["cpu"]).manifest.model.not_reproducible == ()
    binaries = ("model_v73_qnn.bin", "model_v81_qnn.bin")
    assert read_bundle(bundles["dsp"]).manifest.model.not_reproducible == binaries


def test_what_was_not_measured_on_the_device_is_null_or_explained(world, bundles):
    summary = read_json(world.root / "bundle" / "gpu" / "bundle.json", "netwright/bundle-summary/1")
    assert set(summary["latency_ms"].values()) == {None}
    assert any("latency was not measured: No NVIDIA GPU" in r for r in summary["reasons"])
    portable = (
        "the portable ONNX file in ONNX Runtime, as TensorRT does not run on the build machine"
    )
    assert f"accuracy was measured on {portable}" in summary["reasons"]
    card = read_bundle(bundles["gpu"]).files["MODEL_CARD.md"].decode()
    assert "Latency was not measured: No NVIDIA GPU" in card
    assert "SM86, SM89" in card


def test_accuracy_and_golden_outputs_of_an_emulated_device_name_the_runtime(bundles):
    manifest = read_bundle(bundles["dsp"]).manifest
    assert manifest.latency_ms.measured is None
    assert "emulated" in manifest.latency_ms.why_not_measured
    assert manifest.golden.computed_by.startswith("QNN ")
    assert manifest.golden.computed_by.endswith(", emulated")
    assert manifest.accuracy.measured_on.endswith("as QNN is only emulated on the build machine")
    assert (
        "a Hexagon DSP of v73 or v81" in read_bundle(bundles["dsp"]).files["MODEL_CARD.md"].decode()
    )


def test_an_exceeded_budget_fails_the_gate_with_a_reason(world, bundles):
    summary = read_json(world.root / "bundle" / "gpu" / "bundle.json", "netwright/bundle-summary/1")
    assert not summary["passed"]
    assert "over the budget of 10" in summary["reasons"][0]


def test_a_bundle_within_its_limits_passes_without_reasons(world, bundles):
    summary = read_json(world.root / "bundle" / "cpu" / "bundle.json", "netwright/bundle-summary/1")
    assert (summary["passed"], summary["reasons"]) == (True, [])
    assert summary["sha256"] == hashlib.sha256(bundles["cpu"].read_bytes()).hexdigest()
    assert summary["size_bytes"] == bundles["cpu"].stat().st_size
    assert summary["architecture_short"]


@pytest.mark.parametrize(
    ("interval", "passed", "undecided", "words"),
    [
        ((0.8, 0.99), True, False, "latency 0.9 ms (95% interval 0.8 to 0.99) is within"),
        ((0.8, 1.2), True, True, "lies within the interval"),
        (None, True, False, "latency 0.9 ms is within the budget of 1 ms"),
    ],
)
def test_a_budget_within_the_interval_is_undecided_and_passes_the_gate(
    bundles, interval, passed, undecided, words
):
    verdict = check_limits(with_latency(bundles["cpu"], 0.9, interval, 1.0), 1000)
    assert verdict.passed == passed
    assert bool(verdict.undecided) == undecided
    assert set(verdict.undecided) == set(verdict.reasons)
    assert any(words in text for text in (*verdict.reasons, *verdict.kept))


@pytest.mark.parametrize("interval", [(1.01, 1.2), None])
def test_latency_entirely_over_its_budget_fails_the_gate(bundles, interval):
    verdict = check_limits(with_latency(bundles["cpu"], 1.1, interval, 1.0), 1000)
    assert (verdict.passed, verdict.undecided) == (False, ())
    assert "is over the budget of 1 ms" in verdict.reasons[0]


def with_latency(bundle, measured, interval, budget):
    """Return a bundle's manifest with another measured latency."""
    manifest = read_bundle(bundle).manifest
    device = manifest.device.model_copy(update={"budget": Budget(latency_ms=budget)})
    changes = {"measured": measured, "interval": interval, "budget": budget}
    latency = manifest.latency_ms.model_copy(update=changes)
    return manifest.model_copy(update={"device": device, "latency_ms": latency})


def test_peak_memory_of_the_delivered_precision_is_compared_with_its_budget(bundles):
    bundle = read_bundle(bundles["cpu"])
    manifest = bundle.manifest
    share = {"float32": 1, "float16": 0.5, "int8": 0.25}[manifest.precision]
    peak = peak_activation_bytes(Architecture.from_json(manifest.architecture)) * share / 1e6
    assert manifest.costs.memory_mb == pytest.approx(peak, abs=1e-6)
    assert (
        f"| peak activation memory | {peak:.4g} MB | 1 MB |"
        in bundle.files["MODEL_CARD.md"].decode()
    )
    assert any("peak activation memory" in text for text in check_limits(manifest, 1000).kept)
    tight = manifest.device.model_copy(update={"budget": Budget(memory_mb=peak * 0.9)})
    verdict = check_limits(manifest.model_copy(update={"device": tight}), 1000)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("peak activation memory")
    assert read_bundle(bundles["dsp"]).manifest.costs.memory_mb is None  # no memory budget


def test_results_of_different_networks_are_refused(world, bundles, tmp_path):
    root = tmp_path / "world"
    shutil.copytree(world.root, root)
    file = root / "rank" / "choice.json"
    space = SearchSpace.load(ROOT / "models" / "spaces" / "compact.yaml", (1, 28, 28), 10)
    Choice.of(architecture_at(space, 0), "another", None).write(file)
    with pytest.raises(BundleError, match="different networks"):
        type(world)(root).bundle("cpu", tmp_path / "out")
