import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from models.architecture import Architecture
from stages.bundle.archive import pack
from stages.bundle.errors import BundleError
from stages.bundle.read import read_bundle
from stages.common.files import read_json

DEVICES = ["cpu", "edge", "gpu"]


def unpack(bundle: Path, folder: Path) -> Path:
    with tarfile.open(bundle) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_an_archive_is_a_plain_tar_gz_with_nobodys_name_and_no_time(tmp_path):
    packed = pack({"b.txt": b"two", "a.txt": b"one" * 50_000})
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        members = archive.getmembers()
        content = [archive.extractfile(member).read() for member in members]
    assert content == [b"one" * 50_000, b"two"]
    assert [m.name for m in members] == ["a.txt", "b.txt"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }
    file = tmp_path / "x.tar.gz"
    file.write_bytes(packed)
    assert subprocess.run(["tar", "-tzf", file], capture_output=True, check=True).stderr == b""


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


def test_the_identity_chain_is_complete_from_the_supernet_to_the_delivered_file(bundles):
    chain = read_bundle(bundles["edge"]).manifest.hops
    names = [chain[0]["from"]] + [hop["to"] for hop in chain]
    assert names == [
        "supernet slice",
        "subnet",
        "float32 ONNX",
        "int8 ONNX",
        "delivered file in OpenVINO",
    ]
    assert all(hop["passed"] for hop in chain)


def test_the_predicted_latency_is_the_tables_for_the_delivered_precision(world, bundles):
    manifest = read_bundle(bundles["cpu"]).manifest
    blocks = len(Architecture.from_json(manifest.architecture).present)
    per_block = {"float32": 0.1, "int8": 0.05}[manifest.precision]
    assert manifest.latency_ms.predicted == pytest.approx(blocks * per_block)


def test_files_that_no_two_builds_make_alike_are_named(bundles):
    assert read_bundle(bundles["gpu"]).manifest.model.not_reproducible == ("model.engine",)
    assert read_bundle(bundles["cpu"]).manifest.model.not_reproducible == ()


def test_what_was_not_measured_on_the_device_is_null_or_said_in_words(world, bundles):
    summary = read_json(world.root / "bundle" / "gpu" / "bundle.json", "netwright/bundle-summary/1")
    assert summary["latency_ms"] == {"predicted": None, "measured": None, "budget": None}
    assert any("latency was not measured: No NVIDIA GPU" in r for r in summary["reasons"])
    portable = "the portable ONNX file in ONNX Runtime, as TensorRT does not run here"
    assert f"accuracy was measured on {portable}" in summary["reasons"]
    card = read_bundle(bundles["gpu"]).files["MODEL_CARD.md"].decode()
    assert "Latency was not measured: No NVIDIA GPU" in card
    assert "SM86, SM89" in card


def test_a_broken_budget_holds_the_bundle_back_with_a_sentence(world, bundles):
    summary = read_json(world.root / "bundle" / "gpu" / "bundle.json", "netwright/bundle-summary/1")
    assert not summary["passed"]
    assert "over the budget of 10" in summary["reasons"][0]


def test_a_bundle_within_its_limits_passes_without_reasons(world, bundles):
    summary = read_json(world.root / "bundle" / "cpu" / "bundle.json", "netwright/bundle-summary/1")
    assert (summary["passed"], summary["reasons"]) == (True, [])
    assert summary["sha256"] == hashlib.sha256(bundles["cpu"].read_bytes()).hexdigest()
    assert summary["size_bytes"] == bundles["cpu"].stat().st_size
    assert summary["architecture_short"]


def test_results_of_different_networks_are_refused(world, bundles, tmp_path):
    root = tmp_path / "world"
    shutil.copytree(world.root, root)
    ranking = root / "rank" / "ranking.json"
    content = json.loads(ranking.read_text())
    content["chosen"]["architecture_id"] = "0" * 12
    ranking.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="different networks"):
        type(world)(root).bundle("cpu", tmp_path / "out")


BLOCK = """
import importlib.abc, sys
class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {banned!r}:
            raise ImportError(f"{{name}} is blocked in this test")
sys.meta_path.insert(0, Guard())
import runpy
sys.argv = ["run.py", *sys.argv[1:]]
runpy.run_path("run.py", run_name="__main__")
"""
BANNED = {"torch", "PIL", "sklearn", "scipy", "pydantic", "stages", "devices", "data", "models"}


def run_alone(folder: Path, *arguments: str, also: frozenset[str] = frozenset()):
    """Run a bundle's run.py where nothing of ours, and only its runtime, can be imported."""
    code = BLOCK.format(banned=BANNED | also)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )


@pytest.mark.parametrize(
    ("device", "banned"), [("cpu", "openvino"), ("edge", "onnxruntime")], ids=["cpu", "edge"]
)
def test_run_py_needs_only_numpy_and_the_devices_runtime(bundles, tmp_path, device, banned):
    folder = unpack(bundles[device], tmp_path)
    done = run_alone(folder, also=frozenset({banned}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 golden outputs within")


def test_run_py_classifies_arrays(bundles, tmp_path):
    folder = unpack(bundles["cpu"], tmp_path)
    with np.load(folder / "golden.npz") as golden:
        expected = [str(k) for k in golden["outputs"].argmax(1)]
        for index, image_HWC in enumerate(golden["images"]):
            np.save(folder / f"{index}.npy", image_HWC)
    done = run_alone(folder, *[f"{index}.npy" for index in range(6)])
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == expected


def test_run_py_runs_the_portable_file_where_there_is_no_gpu_and_says_how(bundles, tmp_path):
    folder = unpack(bundles["gpu"], tmp_path)
    refused = run_alone(folder)
    assert refused.returncode == 1
    assert "--portable" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = run_alone(folder, "--portable")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "labels.json").write_text("{}"), "labels.json is not the file"),
        (lambda folder: np.save(folder / "x.npy", np.zeros((5, 5, 1), np.uint8)), "must be uint8"),
    ],
    ids=["changed file", "wrong shape"],
)
def test_run_py_refuses_with_a_sentence(bundles, tmp_path, spoil, message):
    folder = unpack(bundles["cpu"], tmp_path)
    spoil(folder)
    done = run_alone(folder, *(["x.npy"] if (folder / "x.npy").exists() else []))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
