import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from bundles.archive import pack
from bundles.check.verify import predict, verify
from bundles.errors import BundleError
from bundles.golden import Golden, golden_bytes
from bundles.manifest import read_manifest, relative_error
from bundles.read import Limits, read_archive, read_bundle
from data.images import ImageError
from devices.measure.target import RemoteTarget
from pipelines.cli.bundles import target_finder
from tests.agents import Agent
from tests.bundles.forging import careless, files_of, thorough
from tests.support import ROOT


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(content)
    return path


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


def test_predict_names_the_class_and_its_probability(world, bundles, tmp_path):
    images_NHWC = np.load(world.root / "data" / "test.images.npy")
    labels_N = np.load(world.root / "data" / "test.labels.npy")
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path, image_HWC in zip(paths, images_NHWC, strict=False):
        Image.fromarray(image_HWC[..., 0]).save(path)
    for device in ("cpu", "edge", "gpu", "dsp", "phone"):
        found = predict(bundles[device], paths)
        hits = [name == str(k) for (name, _), k in zip(found, labels_N, strict=False)]
        assert sum(hits) >= 7  # of 20; chance is 2
        assert all(0 < probability <= 1 for _, probability in found)


def test_predict_agrees_with_the_manifests_accuracy_on_all_test_images(world, bundles, tmp_path):
    images_NHWC = np.load(world.root / "data" / "test.images.npy")
    labels_N = np.load(world.root / "data" / "test.labels.npy")
    paths = [tmp_path / f"{i}.png" for i in range(len(labels_N))]
    for path, image_HWC in zip(paths, images_NHWC, strict=True):
        Image.fromarray(image_HWC[..., 0]).save(path)
    found = predict(bundles["edge"], paths)
    right = np.mean([name == str(k) for (name, _), k in zip(found, labels_N, strict=True)])
    stated = read_bundle(bundles["edge"]).manifest.accuracy.delivered
    assert right == pytest.approx(stated, abs=1e-6)


def test_predict_refuses_a_file_that_is_not_an_image(bundles, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageError):
        predict(bundles["cpu"], [path])


def member(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"x", link: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (member("../evil"), r"\.\./evil"),
        (member("/etc/evil"), "/etc/evil"),
        (member("a/b"), "a/b"),
        (member(".."), r"'\.\.'"),
        (member("C:evil"), "C:evil"),
        (member("new\nline"), "not allowed"),
        (member("link", tarfile.SYMTYPE, link="/etc/passwd"), "symbolic link"),
        (member("link", tarfile.LNKTYPE, link="run.py"), "hard link"),
        (member("device", tarfile.CHRTYPE), "not a regular file"),
        (member("pipe", tarfile.FIFOTYPE), "not a regular file"),
        (member("folder", tarfile.DIRTYPE), "not a regular file"),
        (member("run.py"), "twice"),
        (member("extra.txt"), "differ from those written by Netwright"),
    ],
    ids=lambda value: value[0].name if isinstance(value, tuple) else "",
)
def test_hostile_members_are_refused_by_name(bundles, tmp_path, extra, message):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files_of(bundles["cpu"]).items()):
            info, data = member(name, content=content)
            archive.addfile(info, io.BytesIO(data))
        archive.addfile(extra[0], io.BytesIO(extra[1]))
    verification = verify(saved(tmp_path, buffer.getvalue()))
    assert not verification.passed
    (check,) = verification.checks
    assert __import__("re").search(message, check.detail), check.detail


def test_a_decompression_bomb_is_refused_while_unpacking(tmp_path):
    path = saved(tmp_path, gzip.compress(bytes(50_000_000)))
    with pytest.raises(BundleError, match="unpacks to more"):
        read_archive(path, Limits(unpacked_bytes=1_000_000))


def test_an_archive_over_the_decompression_ratio_is_refused(tmp_path):
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(BundleError, match=f"unpacks to more than the {100 * len(bomb)} bytes"):
        read_archive(saved(tmp_path, bomb), Limits())


def test_an_archive_of_several_pieces_is_read_whole_and_not_a_byte_beyond(tmp_path):
    content = np.random.default_rng(0).bytes(300_000)
    packed = pack({"a.bin": content})
    assert read_archive(saved(tmp_path, packed), Limits()) == ({"a.bin": content}, len(packed))
    with pytest.raises(BundleError, match="200000 trailing bytes"):
        read_archive(saved(tmp_path, packed + bytes(200_000)), Limits())
    with pytest.raises(BundleError, match="truncated"):
        read_archive(saved(tmp_path, packed[:-100_000]), Limits())


def test_too_many_files_are_refused(tmp_path):
    path = saved(tmp_path, pack({f"f{i}": b"" for i in range(100)}))
    with pytest.raises(BundleError, match="more than the 64 files"):
        read_archive(path, Limits())


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
        (drop("labels.json"), "missing: labels.json"),
        (lambda content, files: files.update(new=b""), "not listed in its manifest: new"),
        (swap, "'labels.json' is not the file"),
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


def test_nothing_is_written_for_a_refused_bundle(bundles, tmp_path, monkeypatch):
    content = bytearray(bundles["cpu"].read_bytes())
    content[len(content) // 2] ^= 1
    path = saved(tmp_path, bytes(content))

    def forbidden(*arguments, **named):
        raise AssertionError("a refused bundle was unpacked")

    monkeypatch.setattr("bundles.read.TemporaryDirectory", forbidden)
    assert not verify(path).passed


def test_a_missing_bundle_is_refused(tmp_path):
    (check,) = verify(tmp_path / "none.tar.gz").checks
    assert "no such bundle" in check.detail


def test_latency_is_measured_only_on_request_and_compared_with_the_budget(bundles, tmp_path):
    check = verify(bundles["cpu"], latency=True).checks[-1]
    assert (check.name, check.passed) == ("latency", True)
    assert "within the budget of 50 ms" in check.detail
    assert "95% interval" in check.detail
    assert "when it was built" in check.detail

    def tighter(content, files):
        content["device"]["budget"]["latency_ms"] = content["latency_ms"]["budget"] = 1e-6

    slow = verify(saved(tmp_path, thorough(bundles["cpu"], tighter)), latency=True).checks[-1]
    assert (slow.name, slow.passed) == ("latency", False)
    assert "over the budget of 1e-06 ms" in slow.detail


def test_latency_is_normalised_to_the_profiles_reference(bundles, tmp_path):
    def longer(content, files):
        content["latency_ms"]["reference"]["ms"] = 1e6

    slow = verify(saved(tmp_path, thorough(bundles["cpu"], longer)), latency=True).checks[-1]
    assert not slow.passed, "a machine's own milliseconds would be within the budget"
    assert "over the budget of 50 ms" in slow.detail


def other_machine(content, files):
    content["latency_ms"]["reference"]["machine"]["processor"] = "another"
    content["latency_ms"]["reference"]["ms"] = 1e6


def in_milliseconds(content, files):
    other_machine(content, files)
    content["latency_ms"]["share"] = None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_machine, "is not compared: the budget is 0.5 of the largest network's latency"),
        (in_milliseconds, "within the budget of 50 ms"),
    ],
)
def test_on_another_machine_latency_is_not_normalised(bundles, tmp_path, change, words):
    check = verify(saved(tmp_path, thorough(bundles["cpu"], change)), latency=True).checks[-1]
    assert check.passed
    assert words in check.detail
    assert "not the machine of the budget (processor was 'another'" in check.detail


def huge(content, files):
    for block in content["latency_ms"]["reference"]["architecture"]["blocks"]:
        for key in {"in_channels", "out_channels"} & set(block):
            block[key] *= 10**6


@pytest.mark.parametrize(
    "change",
    [
        lambda content, files: content["latency_ms"]["reference"].update(architecture={}),
        lambda content, files: content["latency_ms"]["reference"]["architecture"].update(blocks=[]),
        huge,
    ],
)
def test_a_malformed_or_huge_reference_network_is_refused(bundles, tmp_path, change):
    check = verify(saved(tmp_path, thorough(bundles["cpu"], change)), latency=True).checks[-1]
    assert (check.name, check.passed) == ("latency", False)
    assert "the manifest's reference network" in check.detail


def test_a_bundle_without_intervals_is_still_valid(bundles, tmp_path):
    def older(content, files):
        for key in ("interval", "share", "reference"):
            del content["latency_ms"][key]
        del content["device"]["budget"]["latency_share"]

    verification = verify(saved(tmp_path, thorough(bundles["cpu"], older)), latency=True)
    assert verification.passed
    assert "within the budget of 50 ms" in verification.checks[-1].detail


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


def test_latency_that_cannot_be_measured_is_a_failed_check_with_a_reason(bundles):
    check = verify(bundles["gpu"], latency=True).checks[-1]
    assert (check.name, check.passed) == ("latency", False)
    assert "cannot be measured. No NVIDIA GPU" in check.detail


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
        files, _ = read_archive(path, Limits())
        content = json.loads(files["manifest.json"])
        assert not {"agent", "agent_token_env", "table"} & content["device"].keys()


def test_the_agent_of_a_bundle_is_found_in_the_params_around_and_nowhere_else(
    bundles, tmp_path, monkeypatch
):
    files, _ = read_archive(bundles["cpu"], Limits())
    manifest = read_manifest(bundles["cpu"], files)
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
