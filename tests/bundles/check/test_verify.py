import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from bundles.archive import pack
from bundles.check.verify import verify
from bundles.golden import Golden, golden_bytes
from bundles.manifest import relative_error
from bundles.read import read_bundle
from devices.measure.target import RemoteTarget
from pipelines.cli.bundles import target_finder
from tests.agents import Agent
from tests.bundles.forging import careless, files_of, saved, thorough
from tests.support import ROOT


@pytest.mark.parametrize("device", ["cpu", "edge"])
def test_a_good_bundle_passes_every_check(bundles, device):
    verification = verify(bundles[device])
    assert [check.name for check in verification.checks] == [
        "archive",
        "manifest",
        "hashes",
        "consistency",
        "hops",
        "golden",
        "processor",
        "limits",
    ]
    processor = next(c for c in verification.checks if c.name == "processor")
    assert "has the features of the processor of the measurements" in processor.detail
    assert verification.passed, verification.to_json()


def test_a_bundle_without_its_runtime_is_checked_with_its_portable_file(bundles):
    golden, _, limits = verify(bundles["gpu"]).checks[-3:]
    assert golden.passed
    assert "ONNX Runtime" in golden.detail
    assert "No NVIDIA GPU" in golden.detail
    assert not limits.passed
    assert "latency was not measured" in limits.detail


def drop(name):
    return lambda content, files: files.pop(name)


def put(*keys, value):
    def change(content, files):
        *path, last = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


def swap(content, files):
    files["run.py"], files["labels.json"] = files["labels.json"], files["run.py"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("labels.json"), "'labels.json' is missing"),
        (lambda content, files: files.update(new=b""), "'new' is not listed"),
        (swap, "'labels.json' has another SHA-256, 'run.py' has another SHA-256"),
        (put("accuracy", "delivered", value=1.5), "accuracy.delivered"),
        (put("accuracy", "delivered", value="high"), "accuracy.delivered"),
        (put("surprise", value=1), "surprise"),
        (put("precision", value="int4"), "precision"),
        (put("device", "budget", value={}), "device.budget"),
        (put("model", "entry", value="../../etc/passwd"), "names model files"),
        (put("files", "run.py", value="0" * 64), "run.py"),
        (put("hops", 0, "agreement", value=None), "is inconsistent"),
    ],
)
def test_an_inconsistent_forgery_is_refused(bundles, tmp_path, change, message):
    assert message in refusal(saved(tmp_path, careless(bundles["cpu"], change)))


def edit_golden(**arrays):
    def change(content, files):
        with np.load(io.BytesIO(files["golden.npz"])) as golden:
            found = {name: golden[name] for name in golden}
        found |= {name: edit(found[name]) for name, edit in arrays.items()}
        files["golden.npz"] = golden_bytes(
            Golden(
                found["images"],
                found["inputs"],
                found["outputs"],
                found["labels"],
                float(found["tolerance"]),
            )
        )

    return change


def wider(content, files):
    edit_golden(tolerance=lambda value: value * 1e6)(content, files)
    content["golden"]["tolerance"] *= 1e6


def pickled(content, files):
    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([{}], object), inputs=np.zeros(1))
    files["golden.npz"] = buffer.getvalue()


def broken_model(content, files):
    files["model.onnx"] = b"\x08\x07" + files["model.onnx"][2:-50]


def another_mean(content, files):
    how = json.loads(files["preprocess.json"])
    how["mean"] = [how["mean"][0] + 0.1]
    files["preprocess.json"] = json.dumps(how).encode()


def one_label_less(content, files):
    files["labels.json"] = files["labels.json"].replace(b',\n    "9"', b"")


def the_same_label_twice(content, files):
    files["labels.json"] = files["labels.json"].replace(b'"9"', b'"8"')


def other_check(**changes):
    return lambda content, files: content["hops"][1].update(changes)


def latency(content, files):
    content["latency_ms"]["measured"] = content["ledger"][0]["measured"] = 60.0
    content["latency_ms"]["interval"] = [59.0, 61.0]
    off = relative_error(content["ledger"][0]["predicted"], 60.0)
    content["ledger"][0]["error"] = off


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("device", "backend", value="teapot"), "teapot"),
        (put("golden", "images", value=5), "golden.npz"),
        (pickled, "golden.npz"),
        (broken_model, "model.onnx"),
        (edit_golden(outputs=lambda x: x[:, ::-1]), "golden outputs differ"),
        (edit_golden(outputs=lambda x: x * np.float32("nan")), "is not between 0 and the largest"),
        (edit_golden(inputs=lambda x: x + np.float32(0.01)), "not reproduce the golden inputs"),
        (edit_golden(images=lambda x: 255 - x), "not reproduce the golden inputs"),
        (edit_golden(labels=lambda x: x + 10), "labels outside the classes"),
        (edit_golden(tolerance=lambda x: x * 2), "different tolerances"),
        (wider, "is not between 0 and the largest"),
        (another_mean, "not reproduce the golden inputs"),
        (one_label_less, "its network has 10 classes"),
        (the_same_label_twice, "a class twice"),
        (other_check(agreement=0.1), "from subnet to float32 ONNX changes the network"),
        (other_check(max_difference=7.0), "from subnet to float32 ONNX changes the network"),
        (other_check(passed=False), "from subnet to float32 ONNX is marked as failed"),
        (lambda content, files: content["hops"].pop(1), "an equivalence check from subnet to"),
        (lambda content, files: content["hops"].pop(), "checks run from supernet slice to"),
        (put("hops", value=[]), "no equivalence checks"),
        (put("device", "min_accuracy", value=0.99), "is below the required 0.99"),
        (latency, "over the budget of 50 ms"),
    ],
)
def test_a_consistent_forgery_is_detected_by_running_the_bundle(bundles, tmp_path, change, message):
    assert message in refusal(saved(tmp_path, thorough(bundles["cpu"], change)))


def refusal(path: Path) -> str:
    verification = verify(path)
    assert not verification.passed
    return "; ".join(check.detail for check in verification.checks if not check.passed)


def test_an_edited_manifest_is_detected(bundles, tmp_path):
    files = files_of(bundles["cpu"])
    files["manifest.json"] = files["manifest.json"].replace(b'"name": "cpu"', b'"name": "fpu"')
    (archive, manifest) = verify(saved(tmp_path, pack(files))).checks
    assert archive.passed
    assert "changed after it was written" in manifest.detail


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("interval", [1e-9, 2e-9], "the measured latency is outside its interval"),
        ("budget", 49.0, "it has two different latency budgets"),
    ],
)
def test_an_inconsistent_latency_is_refused(bundles, tmp_path, key, value, words):
    def change(content, files):
        content["latency_ms"][key] = value

    assert words in refusal(saved(tmp_path, thorough(bundles["cpu"], change)))


def test_verify_imports_neither_torch_nor_signing_packages():
    code = (
        "import sys, bundles.check.verify; "
        "print([m for m in ('torch', 'cryptography', 'model_signing') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_golden_outputs_are_run_on_the_device_by_its_agent(bundles, tmp_path):
    agent = Agent(tmp_path)
    try:

        def on_the_device(manifest):
            return RemoteTarget(agent.client(), manifest.device)

        for name in ("cpu", "edge"):
            result = verify(bundles[name], on_the_device)
            assert result.passed, result.to_json()
            golden = next(check for check in result.checks if check.name == "golden")
            assert "on 'phone'" in golden.detail
        agent.kill()
        result = verify(bundles["cpu"], on_the_device)
        assert not result.passed
        golden = next(check for check in result.checks if check.name == "golden")
        assert "'phone' does not answer" in golden.detail
    finally:
        agent.kill()


def test_a_bundle_never_contains_an_agent_address(bundles):
    for path in bundles.values():
        content = json.loads(files_of(path)["manifest.json"])
        assert not {"agent", "agent_token_env", "table"} & content["device"].keys()


def test_the_agent_of_a_bundle_is_found_in_the_params_around_and_nowhere_else(
    bundles, tmp_path, monkeypatch
):
    manifest = read_bundle(bundles["cpu"]).manifest
    assert target_finder(tmp_path, None)(manifest) is None
    monkeypatch.setenv("NETWRIGHT_AGENT_TOKEN", "x" * 20)
    assert isinstance(target_finder(tmp_path, "phone:8600")(manifest), RemoteTarget)
    with pytest.raises(ValueError, match="agent"):
        target_finder(tmp_path, "http://phone")(manifest)
    params = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    (tmp_path / "dvc.yaml").touch()
    for devices, found in ((("other",), False), (("cpu",), True)):
        params["devices"] = {
            name: {
                "backend": "onnxruntime", "budget": {"latency_ms": 1.0}, "min_accuracy": 0.0,
                "agent": "phone:8600",
            }
            for name in devices
        }  # fmt: skip
        YAML(typ="safe", pure=True).dump(params, tmp_path / "params.yaml")
        assert isinstance(target_finder(tmp_path, None)(manifest), RemoteTarget) == found
